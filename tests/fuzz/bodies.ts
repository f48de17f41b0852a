import fc from "fast-check";
import { EXAMPLE_ASSET, EXAMPLES } from "./examples.ts";
import { HOSTILE_TEXTS, HOSTILE_VALUES, hostileJson, mutate, MUTATIONS } from "./hostile.ts";
import type { Operation } from "./operations.ts";
import type { Manner } from "./requests.ts";
import { valuesOf, type JsonSchema } from "./schema-values.ts";

/** What is sent behind a request's head. */
export interface SentBody {
  readonly contentType: string | undefined;
  readonly bytes: Uint8Array;
}

/** Bodies for an operation; `undefined` where it takes none. */
export function bodiesFor(
  operation: Operation,
  manner: Manner,
): fc.Arbitrary<SentBody | undefined> {
  const [entry] = Object.entries(operation.requestBody?.content ?? {});
  if (entry === undefined) {
    const unasked = fc.oneof(fc.constant(undefined), RAW_BODIES);
    return manner === "hostile" ? unasked : fc.constant(undefined);
  }
  const [type, { schema = {} }] = entry;
  const right = rightBodies(type, schema, { operation, manner });
  if (manner === "valid") return right;
  const damaged = fc.tuple(right, DAMAGES).map(([body, damage]) => damage(body));
  if (manner === "near") return fc.oneof({ arbitrary: right, weight: 5 }, damaged);
  return fc.oneof(right, damaged, RAW_BODIES, fc.constant(undefined));
}

function rightBodies(type: string, schema: JsonSchema, call: Call): fc.Arbitrary<SentBody> {
  switch (type) {
    case "application/json":
      return jsonOf(schema, call).map((text) => textBody("application/json", text));
    case "multipart/form-data":
      return formsOf(schema, call);
    case "application/x-ndjson":
      return fc.array(LINES, { maxLength: 4 }).map((lines) => textBody(type, lines.join("\n")));
    default:
      return fc.oneof(
        fc.constant(textBody(type, "fuzz")),
        fc.uint8Array({ maxLength: 200 }).map((bytes) => ({ contentType: type, bytes })),
        // Beyond what is stored beside a key.
        fc.constant({ contentType: type, bytes: new Uint8Array(70_000) }),
      );
  }
}

/** Lines of an export, which an import takes. */
const LINES = fc.oneof(
  fc
    .record({ key: HOSTILE_TEXTS, value: fc.base64String({ maxLength: 20 }) })
    .map((line) => JSON.stringify(line)),
  HOSTILE_VALUES.map(hostileJson),
);

interface Call {
  readonly operation: Operation;
  readonly manner: Manner;
}

/** JSON of a schema or an example, with as many things changed as the manner says. */
function jsonOf(schema: JsonSchema, { operation, manner }: Call): fc.Arbitrary<string> {
  const { operationId } = operation;
  const values = Object.hasOwn(EXAMPLES, operationId)
    ? fc.oneof(fc.constant(EXAMPLES[operationId]), valuesOf(schema))
    : valuesOf(schema);
  if (manner === "valid") return values.map((value) => JSON.stringify(value) ?? "null");
  const changes = fc.array(MUTATIONS, { minLength: 1, maxLength: manner === "near" ? 1 : 4 });
  const changed = fc
    .tuple(values, changes)
    .map(([value, mutations]) => hostileJson(mutations.reduce(mutate, value)));
  if (manner === "near") return changed;
  return fc.oneof(changed, HOSTILE_VALUES.map(hostileJson));
}

const MODULE_TYPE = "application/javascript+module";
const SOURCE = 'export default { fetch: () => new Response("fuzz") };';

interface FormPart {
  readonly head: string;
  readonly content: string | Uint8Array;
}

function formsOf(schema: JsonSchema, call: Call): fc.Arbitrary<SentBody> {
  const parts = Object.entries((schema["properties"] ?? {}) as Record<string, JsonSchema>);
  const named = fc.tuple(
    ...parts.map(([name, part]) => jsonOf(part, call).map((json) => partOf(name, json))),
  );
  const files = call.operation.path.endsWith("/assets/upload") ? ASSETS : MODULES;
  return fc
    .tuple(named, files, fc.stringMatching(/^[a-z0-9]{1,30}$/))
    .map(([texts, more, word]) => {
      const isForFiles = schema["additionalProperties"] !== false;
      return multipart([...texts, ...(isForFiles ? more : [])], `edge${word}`);
    });
}

const MODULES = fc.oneof(
  { arbitrary: fc.constant([fileOf("index.js", MODULE_TYPE, SOURCE)]), weight: 6 },
  {
    arbitrary: fc
      .tuple(HOSTILE_TEXTS, HOSTILE_TEXTS, fc.uint8Array({ maxLength: 50 }))
      .map(([name, type, content]) => [
        fileOf("index.js", MODULE_TYPE, SOURCE),
        fileOf(name, type, content),
      ]),
    weight: 2,
  },
  { arbitrary: fc.constant([]), weight: 1 },
);

const ASSETS = fc.oneof(
  fc.constant([fileOf(EXAMPLE_ASSET.hash, "text/html", EXAMPLE_ASSET.base64)]),
  fc.array(
    fc
      .tuple(
        fc.oneof(fc.stringMatching(/^[0-9a-f]{32}$/), HOSTILE_TEXTS),
        fc.constantFrom("text/html", "application/null", "x".repeat(300), "a/b\u0001"),
        fc.oneof(fc.base64String({ maxLength: 50 }), HOSTILE_TEXTS),
      )
      .map(([hash, type, content]) => fileOf(hash, type, content)),
    { maxLength: 3 },
  ),
);

function partOf(name: string, content: string): FormPart {
  return { head: `content-disposition: form-data; name="${name}"`, content };
}

function fileOf(name: string, type: string, content: string | Uint8Array): FormPart {
  const disposition = `content-disposition: form-data; name="${name}"; filename="${name}"`;
  return { head: `${disposition}\r\ncontent-type: ${type}`, content };
}

function multipart(parts: ReadonlyArray<FormPart>, boundary: string): SentBody {
  const pieces = parts.flatMap(({ head, content }) => [
    Buffer.from(`--${boundary}\r\n${head}\r\n\r\n`),
    Buffer.from(content),
    Buffer.from("\r\n"),
  ]);
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    bytes: Buffer.concat([...pieces, Buffer.from(`--${boundary}--\r\n`)]),
  };
}

type Damage = (body: SentBody) => SentBody;

/** What happens to a body on its way, or is said wrongly of it. */
const DAMAGES: fc.Arbitrary<Damage> = fc.oneof(
  fc.double({ min: 0, max: 1, noNaN: true }).map((part): Damage => (body) => {
    return { ...body, bytes: body.bytes.subarray(0, Math.floor(body.bytes.length * part)) };
  }),
  fc.tuple(fc.nat(10_000), fc.nat(255)).map(([place, byte]): Damage => (body) => {
    const bytes = Uint8Array.from(body.bytes);
    if (bytes.length > 0) bytes[place % bytes.length] = byte;
    return { ...body, bytes };
  }),
  fc
    .constantFrom(
      undefined,
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data",
      "multipart/form-data; boundary=",
      'multipart/form-data; boundary="other"',
      `multipart/form-data; boundary=${"b".repeat(3_000)}`,
      "multipart/mixed; boundary=edge",
      "application/json; charset=utf-16",
      "a/b;c",
      ";;;",
    )
    .map((contentType): Damage => (body) => ({ ...body, contentType })),
  fc.constant<Damage>((body) => ({ ...body, bytes: Buffer.concat([body.bytes, body.bytes]) })),
);

const RAW_BODIES: fc.Arbitrary<SentBody> = fc
  .tuple(
    fc.constantFrom("application/json", "multipart/form-data; boundary=edge", "text/plain"),
    fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc
        .constantFrom("", "{", "[[[[", "null", "--edge--", "--edge\r\n\r\n")
        .map((text) => Buffer.from(text)),
    ),
  )
  .map(([contentType, bytes]) => ({ contentType, bytes }));

function textBody(contentType: string, text: string): SentBody {
  return { contentType, bytes: Buffer.from(text, "utf8") };
}
