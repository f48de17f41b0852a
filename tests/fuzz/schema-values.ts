import fc from "fast-check";

/** A JSON Schema of the OpenAPI document. */
export type JsonSchema = Readonly<Record<string, unknown>>;

// Lists and texts are short, however long they may be: what is long is for `hostile.ts`.
const ITEMS_MAX = 3;
const CHARACTERS_MAX = 40;

/** Values that a schema lets pass, as far as JSON Schema says what those are. */
export function valuesOf(schema: JsonSchema): fc.Arbitrary<unknown> {
  const alternatives = (schema["anyOf"] ?? schema["oneOf"]) as
    | ReadonlyArray<JsonSchema>
    | undefined;
  if (alternatives !== undefined) return fc.oneof(...alternatives.map(valuesOf));
  if ("const" in schema) return fc.constant(schema["const"]);
  if (Array.isArray(schema["enum"])) return fc.constantFrom(...(schema["enum"] as unknown[]));
  switch (schema["type"]) {
    case "string":
      return textsOf(schema);
    case "integer":
      return fc.integer({ ...rangeOf(schema) });
    case "number":
      return fc.double({ ...rangeOf(schema), noNaN: true });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return fc.array(valuesOf(itemsOf(schema)), {
        minLength: numberOf(schema, "minItems") ?? 0,
        maxLength: Math.min(numberOf(schema, "maxItems") ?? ITEMS_MAX, ITEMS_MAX),
      });
    case "object":
      return objectsOf(schema);
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function objectsOf(schema: JsonSchema): fc.Arbitrary<unknown> {
  const properties = Object.entries((schema["properties"] ?? {}) as Record<string, JsonSchema>);
  const required = new Set((schema["required"] ?? []) as ReadonlyArray<string>);
  const known = fc.record(
    Object.fromEntries(properties.map(([name, property]) => [name, valuesOf(property)])),
    { requiredKeys: [...required] },
  );
  const { additionalProperties, propertyNames } = schema;
  if (typeof additionalProperties !== "object" || additionalProperties === null) return known;
  const more = fc.dictionary(
    textsOf((propertyNames ?? {}) as JsonSchema),
    valuesOf(additionalProperties as JsonSchema),
    { maxKeys: ITEMS_MAX },
  );
  return fc.tuple(known, more).map(([one, other]) => ({ ...other, ...one }));
}

function textsOf(schema: JsonSchema): fc.Arbitrary<string> {
  const minLength = numberOf(schema, "minLength") ?? 0;
  const maxLength = Math.max(
    minLength,
    Math.min(numberOf(schema, "maxLength") ?? CHARACTERS_MAX, CHARACTERS_MAX),
  );
  switch (schema["format"]) {
    case "uuid":
      return fc.uuid();
    case "date-time":
      return fc.date({ noInvalidDate: true, ...DATES }).map((date) => date.toISOString());
    case "base64":
      return fc.base64String({ maxLength });
    case "uri":
      return fc.webUrl();
  }
  const pattern = schema["pattern"];
  if (typeof pattern !== "string" || pattern.includes("\\p{"))
    return fc.string({ minLength, maxLength });
  return fc.stringMatching(new RegExp(pattern));
}

const DATES = { min: new Date("2000-01-01"), max: new Date("2100-01-01") } as const;

function itemsOf(schema: JsonSchema): JsonSchema {
  return (schema["items"] ?? {}) as JsonSchema;
}

function rangeOf(schema: JsonSchema): { readonly min?: number; readonly max?: number } {
  const min = numberOf(schema, "minimum") ?? numberOf(schema, "exclusiveMinimum");
  const max = numberOf(schema, "maximum") ?? numberOf(schema, "exclusiveMaximum");
  const isWide = schema["type"] === "integer" && max !== undefined && max > 2 ** 31;
  return {
    ...(min === undefined ? {} : { min: Math.max(min, -(2 ** 31)) }),
    ...(max === undefined ? {} : { max: isWide ? 2 ** 31 - 1 : max }),
  };
}

function numberOf(schema: JsonSchema, name: string): number | undefined {
  const value = schema[name];
  return typeof value === "number" ? value : undefined;
}
