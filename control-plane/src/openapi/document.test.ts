import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { createDocumentRoutes } from "./routes.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { openApiDocument, undocumentedRoutes, unroutedOperations } from "./document.ts";

const FILE = join(import.meta.dirname, "..", "..", "..", "docs", "openapi.json");

let api: ControlPlaneApi;
beforeAll(async () => {
  api = await ControlPlaneApi.start();
});
afterAll(() => api.close());

test("openapi: every route is in the document, and nothing else is", () => {
  const { routes } = api.controlPlane.http;
  expect(routes.length).toBeGreaterThan(100);
  expect(undocumentedRoutes(routes)).toEqual([]);
  expect(unroutedOperations(routes)).toEqual([]);
});

test("openapi: every operation below an account's path says what it needs of a token, or has one of its own", () => {
  const { paths } = openApiDocument(api.controlPlane.http.routes);
  const open = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations)
      .filter(([, operation]) => operation["x-permission"] === undefined)
      .map(([method]) => `${method} ${path}`),
  );
  expect(open.filter((name) => name.includes("/client/v4"))).toEqual([
    "post /client/v4/accounts/{account}/workers/assets/upload",
    "post /client/v4/pages/assets/check-missing",
    "post /client/v4/pages/assets/upload",
    "post /client/v4/pages/assets/upsert-hashes",
  ]);
});

test("openapi: a control plane serves the document to everybody, and docs/openapi.json is the same", async () => {
  const response = await fetch(`${api.controlPlane.url}/openapi.json`);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("application/json");
  // `node scripts/launch.mjs scripts/openapi-document.ts` writes it anew.
  expect(
    readFileSync(FILE, "utf8") === (await response.text()),
    "docs/openapi.json is current",
  ).toBe(true);
});

// The parts of the specification that the document uses, strictly: what it has beyond them is a mistake.
const Extensions = {
  "x-atoll-own": z.boolean().optional(),
  "x-permission": z.unknown().optional(),
};
const Schema = z.record(z.string(), z.unknown());
const Content = z.record(
  z.string().regex(/^[a-z]+\/[a-z0-9.+-]+$/),
  z.strictObject({
    schema: Schema.optional(),
    encoding: z.record(z.string(), z.strictObject({ contentType: z.string() })).optional(),
  }),
);
const OperationObject = z.strictObject({
  operationId: z.string().regex(/^[a-z][A-Za-z0-9]+$/),
  tags: z.array(z.string()).min(1),
  summary: z.string().min(1),
  security: z.array(z.record(z.string(), z.array(z.string()))),
  parameters: z
    .array(
      z.strictObject({
        name: z.string(),
        in: z.enum(["path", "query"]),
        required: z.boolean(),
        schema: Schema,
      }),
    )
    .optional(),
  requestBody: z.strictObject({ required: z.boolean(), content: Content }).optional(),
  responses: z.record(
    z.string().regex(/^[1-5]\d\d$/),
    z.strictObject({
      $ref: z.string().optional(),
      description: z.string().min(1),
      content: Content.optional(),
    }),
  ),
  ...Extensions,
});
const Document = z.strictObject({
  openapi: z.string().regex(/^3\.1\.\d+$/),
  info: z.strictObject({ title: z.string(), version: z.string(), description: z.string() }),
  servers: z.array(z.strictObject({ url: z.string() })),
  tags: z.array(z.strictObject({ name: z.string() })),
  paths: z.record(
    z.string().startsWith("/"),
    z.partialRecord(z.enum(["get", "put", "post", "patch", "delete"]), OperationObject),
  ),
  components: z.strictObject({
    schemas: z.record(z.string(), Schema),
    responses: z.record(z.string(), z.strictObject({ description: z.string(), content: Content })),
    securitySchemes: z.record(
      z.string(),
      z.strictObject({
        type: z.literal("http"),
        scheme: z.literal("bearer"),
        description: z.string(),
      }),
    ),
  }),
  "x-error-codes": z.record(z.string(), z.unknown()),
  "x-refused-addresses": z.array(z.string()),
});

test("openapi: the document is of the form that OpenAPI 3.1 describes", () => {
  const document = Document.parse(openApiDocument(api.controlPlane.http.routes));
  const ids = new Set<string>();
  for (const [path, operations] of Object.entries(document.paths)) {
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    for (const operation of Object.values(operations)) {
      expect(ids.has(operation.operationId), operation.operationId).toBe(false);
      ids.add(operation.operationId);
      const parameters = operation.parameters ?? [];
      expect(parameters.filter((one) => one.in === "path").map(({ name }) => name)).toEqual(named);
      expect(parameters.every((one) => one.in === "query" || one.required)).toBe(true);
      expect(Object.keys(operation.responses).length).toBeGreaterThan(0);
      for (const scheme of operation.security.flatMap(Object.keys)) {
        expect(document.components.securitySchemes).toHaveProperty(scheme);
      }
    }
  }
  for (const tag of Object.values(document.paths).flatMap((operations) =>
    Object.values(operations).flatMap(({ tags }) => tags),
  )) {
    expect(document.tags.map(({ name }) => name)).toContain(tag);
  }
});

test("openapi: its references lead somewhere, and its schemas are schemas", () => {
  const document = openApiDocument(api.controlPlane.http.routes);
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]*)"/g)].map(
    ([, to]) => to,
  );
  expect(new Set(references)).toEqual(
    new Set(["#/components/responses/Failure", "#/components/schemas/Failure"]),
  );
  for (const schema of schemasIn(document)) z.fromJSONSchema(schema);
});

/** The schemas of everything that is sent or answered. */
function schemasIn(value: unknown): ReadonlyArray<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => {
    if (key === "schemas") return Object.values(item as Record<string, Record<string, unknown>>);
    const isSchema = key === "schema" && !Object.hasOwn(item as object, "$ref");
    return isSchema ? [item as Record<string, unknown>] : schemasIn(item);
  });
}

test("openapi: a schema that refers to itself and is not any JSON is no schema of ours", async () => {
  const { requestSchema } = await import("./json-schema.ts");
  interface Tree {
    readonly children: ReadonlyArray<Tree>;
  }
  const Tree: z.ZodType<Tree> = z.lazy(() => z.object({ children: z.array(Tree) }));
  expect(() => requestSchema(z.object({ tree: Tree }))).toThrow("refers to itself");
  expect(requestSchema(z.object({ any: z.json() }))).toMatchObject({ properties: { any: {} } });
});

test("openapi: the document is made of what is registered when it is first asked for", async () => {
  const routes = createDocumentRoutes(() => []);
  const { paths } = (await (await routes.request("/openapi.json")).json()) as {
    readonly paths: object;
  };
  expect(Object.keys(paths)).toEqual(["/fleet/connect", "/tails/{secret}"]);
});
