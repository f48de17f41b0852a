import fc from "fast-check";
import { bodiesFor, type SentBody } from "./bodies.ts";
import { HOSTILE_TEXTS } from "./hostile.ts";
import type { ApiDocument, ApiParameter, Operation } from "./operations.ts";
import { WORKERS } from "./world.ts";
import { valuesOf } from "./schema-values.ts";

/** How far from right a request is: as documented, with one thing wrong, or with as much as possible. */
const MANNERS = ["valid", "near", "hostile"] as const;
export type Manner = (typeof MANNERS)[number];

const CREDENTIALS = ["admin", "viewer", "stranger", "node", "upload", "none", "garbage"] as const;
export type FuzzCredential = (typeof CREDENTIALS)[number];

/** A request before it is sent: `<name:number>` in its path stands for something that exists by then. */
export interface FuzzRequest {
  readonly operation: Operation | undefined;
  readonly manner: Manner;
  readonly method: string;
  readonly path: string;
  readonly credential: FuzzCredential;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: SentBody | undefined;
}

/** Requests for every operation of the document, and for addresses that are none of them. */
export function requestsFor(
  document: ApiDocument,
  operations: ReadonlyArray<Operation>,
): fc.Arbitrary<FuzzRequest> {
  const perOperation = operations.flatMap((operation) =>
    MANNERS.map((manner) => ({
      arbitrary: requestOf(operation, manner),
      weight: weightOf(operation, manner),
    })),
  );
  return fc.oneof(...perOperation, { arbitrary: strayRequests(document, operations), weight: 20 });
}

// Each new version is started once, which takes far longer than all else that is asked here.
const STARTS_A_VERSION =
  /^(put|post|patch|delete)\S*(ScriptsWorker|Versions|Secrets|Latest|Settings)/;

function weightOf({ operationId }: Operation, manner: Manner): number {
  // What is gone can't be asked for any more.
  if (operationId.startsWith("delete")) return 1;
  return manner === "valid" && STARTS_A_VERSION.test(operationId) ? 2 : 6;
}

function requestOf(operation: Operation, manner: Manner): fc.Arbitrary<FuzzRequest> {
  const parameters = operation.parameters ?? [];
  const inPath = parameters.filter((parameter) => parameter.in === "path");
  const inQuery = parameters.filter((parameter) => parameter.in === "query");
  return fc
    .record({
      names: fc.tuple(...inPath.map((parameter) => segmentsOf(parameter, manner))),
      query: fc.tuple(...inQuery.map((parameter) => queryOf(parameter, manner)), moreQuery(manner)),
      credential: credentialsFor(operation, manner),
      body: bodiesFor(operation, manner),
      headers: headersIn(manner),
    })
    .map(({ names, query, credential, body, headers }) => {
      const path = inPath.reduce(
        (text, { name }, index) => text.replace(`{${name}}`, names[index] ?? ""),
        operation.path,
      );
      const asked = query.filter((text) => text !== "").join("&");
      return {
        // A path with `.` or `..` in it is another one before any route is looked for.
        operation: isAsWritten(path) ? operation : undefined,
        ...{ manner, credential, headers, body },
        method: operation.method,
        path: asked === "" ? path : `${path}?${asked}`,
      };
    });
}

const KNOWN_SEGMENTS: Readonly<Record<string, fc.Arbitrary<string>>> = {
  account: fc.constant("<account:0>"),
  worker: fc.oneof(
    { arbitrary: fc.constantFrom(...WORKERS), weight: 9 },
    { arbitrary: fc.constant("absent"), weight: 1 },
  ),
  namespace: fc.nat(7).map((index) => `<namespace:${index}>`),
  version: fc.oneof(
    fc.nat(7).map((index) => `<version:${index}>`),
    fc.constant("latest"),
  ),
  token: fc.nat(7).map((index) => `<token:${index}>`),
  tail: fc.nat(7).map((index) => `<tail:${index}>`),
  id: fc.nat(7).map((index) => `<domain:${index}>`),
  hash: fc.nat(7).map((index) => `<blob:${index}>`),
  key: fc.oneof(
    fc.constantFrom("a", "b", "a%2Fb", "%F0%9F%98%80"),
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }).map(percentEncoded),
  ),
  secret: fc.constantFrom("SECRET", "OTHER"),
};

function segmentsOf({ name, schema }: ApiParameter, manner: Manner): fc.Arbitrary<string> {
  const known =
    KNOWN_SEGMENTS[name] ?? valuesOf(schema).map((value) => percentEncoded(String(value)));
  if (manner === "valid") return known;
  const account = name === "account" ? fc.constant("f".repeat(32)) : known;
  const weight = manner === "near" ? 8 : 3;
  return fc.oneof(
    { arbitrary: known, weight },
    { arbitrary: fc.oneof(account, ODD_SEGMENTS), weight: 1 },
  );
}

const ODD_SEGMENTS = fc.oneof(
  HOSTILE_TEXTS.map(percentEncoded),
  fc.constantFrom(
    "%",
    "%zz",
    "%c0%af",
    "%ff",
    "%2e%2e",
    "..",
    ".",
    "%2F%2f",
    "a%2f..%2fb",
    "%00",
    "%0d%0aset-cookie:a=b",
    "*",
    ";a=b",
    "a//b",
  ),
  fc.integer({ min: 1_000, max: 12_000 }).map((length) => "p".repeat(length)),
);

function queryOf({ name, schema, required }: ApiParameter, manner: Manner): fc.Arbitrary<string> {
  const right = valuesOf(schema).map((value) => `${name}=${percentEncoded(String(value))}`);
  if (manner === "valid") return required ? right : fc.oneof(right, fc.constant(""));
  const odd = HOSTILE_TEXTS.map((text) => `${name}=${percentEncoded(text.slice(0, 2_000))}`);
  const repeated = fc.tuple(right, right).map((pair) => pair.join("&"));
  return fc.oneof(
    right,
    odd,
    repeated,
    fc.constant(""),
    fc.constantFrom(name, `${name}[]=1`, `${name}=%zz`),
  );
}

function moreQuery(manner: Manner): fc.Arbitrary<string> {
  if (manner === "valid") return fc.constant("");
  const unknown = fc
    .tuple(HOSTILE_TEXTS, HOSTILE_TEXTS)
    .map((pair) => pair.map((text) => percentEncoded(text.slice(0, 500))).join("="));
  return fc.oneof({ arbitrary: fc.constant(""), weight: 3 }, { arbitrary: unknown, weight: 1 });
}

function credentialsFor(operation: Operation, manner: Manner): fc.Arbitrary<FuzzCredential> {
  const [scheme] = operation.security.flatMap(Object.keys);
  const right =
    ({ nodeCredential: "node", uploadToken: "upload" } as const)[scheme ?? ""] ?? "admin";
  if (manner === "valid") return fc.constant(right);
  return fc.oneof(
    { arbitrary: fc.constant(right), weight: 12 },
    { arbitrary: fc.constantFrom(...CREDENTIALS), weight: 1 },
  );
}

function headersIn(manner: Manner): fc.Arbitrary<Readonly<Record<string, string>>> {
  if (manner !== "hostile") return fc.constant({});
  return fc.constantFrom<Readonly<Record<string, string>>>(
    {},
    {},
    { "content-encoding": "gzip" },
    { "x-auth-key": "x" },
    { "x-forwarded-proto": "https\t" },
    { "x-forwarded-for": "203.0.113.1", "x-atoll-node": "fra" },
    { accept: "text/html;q=zz", range: "bytes=0-18446744073709551615" },
    { "if-none-match": "*", cookie: "a".repeat(4_000) },
    { "x-http-method-override": "DELETE", connection: "x-request-id" },
  );
}

/** Wrong methods, paths that begin as known ones do, and features that Atoll does not have. */
function strayRequests(
  document: ApiDocument,
  operations: ReadonlyArray<Operation>,
): fc.Arbitrary<FuzzRequest> {
  const known = fc.constantFrom(
    ...operations.map(({ path }) => path),
    ...document["x-refused-addresses"],
  );
  return fc
    .record({
      path: known,
      more: fc.oneof(
        fc.constantFrom("", "", "/", "/x", "//", "/.."),
        ODD_SEGMENTS.map((text) => `/${text}`),
      ),
      method: fc.constantFrom("GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"),
      credential: fc.constantFrom<FuzzCredential>("admin", "admin", "viewer", "none"),
      segment: fc.oneof(fc.constantFrom("kept", "<account:0>", "<namespace:0>"), ODD_SEGMENTS),
    })
    .map(({ path, more, method, credential, segment }) => ({
      operation: undefined,
      manner: "hostile" as const,
      ...{ method, credential, headers: {}, body: undefined },
      path:
        path
          .replace("{account}", "<account:0>")
          .replace("*", "x")
          .replaceAll(/\{\w+\}/g, () => segment) + more,
    }));
}

function isAsWritten(path: string): boolean {
  return !path.includes("//") && !/\/(\.|%2e){1,2}(\/|$)/i.test(path);
}

/** Every byte but the plainest as `%xx`: nothing is left that a client would refuse to send. */
function percentEncoded(text: string): string {
  return [...Buffer.from(text, "utf8")]
    .map((byte) => {
      const character = String.fromCodePoint(byte);
      return /[A-Za-z0-9._~-]/.test(character)
        ? character
        : `%${byte.toString(16).padStart(2, "0").toUpperCase()}`;
    })
    .join("");
}
