import { isDeepStrictEqual } from "node:util";
import { z } from "zod";

/** A JSON Schema of the dialect that OpenAPI 3.1 has. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** What may be sent: what a schema turns it into does not show. */
export function requestSchema(schema: z.ZodType): JsonSchema {
  return convert(schema, "input");
}

/** What is answered. More fields may come with a newer version, so none are ruled out. */
export function answerSchema(schema: z.ZodType): JsonSchema {
  return convert(schema, "output");
}

function convert(schema: z.ZodType, io: "input" | "output"): JsonSchema {
  const {
    $schema: _dialect,
    $defs,
    ...converted
  } = z.toJSONSchema(schema, {
    io,
    // Bytes, and rules that are functions: the document says of them what JSON Schema can.
    unrepresentable: "any",
    override: ({ jsonSchema }) => {
      if (io === "output" && jsonSchema.additionalProperties === false) {
        delete jsonSchema.additionalProperties;
      }
    },
  });
  for (const definition of Object.values($defs ?? {})) {
    if (isDeepStrictEqual(withoutReferences(definition), anyJson())) continue;
    throw new Error(
      `a schema refers to itself, and is not any JSON: ${JSON.stringify(definition)}`,
    );
  }
  return withoutReferences(converted) as JsonSchema;
}

function anyJson(): unknown {
  const { $schema: _dialect, ...schema } = z.toJSONSchema(z.json());
  return withoutReferences(schema);
}

/** Only any JSON refers to itself, which a schema without rules says as well, wherever it is put. */
function withoutReferences(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutReferences);
  if (typeof value !== "object" || value === null) return value;
  if ("$ref" in value) return {};
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, withoutReferences(item)]),
  );
}
