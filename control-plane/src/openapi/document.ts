import { z } from "zod";
import {
  AccountId,
  BlobHash,
  MessageFromNode,
  MessageToNode,
  VersionId,
  WorkerName,
} from "../contract/index.ts";
import { CONTROL_PLANE_ERRORS, type ControlPlaneErrorCode } from "../errors.ts";
import { permissionOf, type Permission } from "../http/permissions.ts";
import type { RegisteredHandler } from "../http/server.ts";
import { NamespaceId } from "@atoll/kv-store";
import { ACCOUNT_OPERATIONS } from "./account-operations.ts";
import { commonErrors } from "./common-errors.ts";
import { FLEET_OPERATIONS, UPGRADES } from "./fleet-operations.ts";
import { answerSchema, requestSchema, type JsonSchema } from "./json-schema.ts";
import { KV_OPERATIONS } from "./kv-operations.ts";
import type { Credential, Operation, Operations } from "./operation.ts";
import { PAGES_OPERATIONS } from "./pages-operations.ts";
import { WORKER_OPERATIONS } from "./worker-operations.ts";

const OPENAPI = "3.1.1";

const TAGGED: Readonly<Record<string, Operations>> = {
  Accounts: ACCOUNT_OPERATIONS,
  Workers: WORKER_OPERATIONS,
  Pages: PAGES_OPERATIONS,
  "Key-value store": KV_OPERATIONS,
  Fleet: { ...FLEET_OPERATIONS, ...UPGRADES },
};

/** An address that a router answers. */
interface Address {
  readonly method: string;
  readonly path: string;
  readonly permission: Permission | undefined;
}

/**
 * What is known of every route. The routes say which there are and what they need of a token, the
 * operations what they take and answer. Addresses that refuse every method are listed apart.
 */
export function openApiDocument(handlers: ReadonlyArray<RegisteredHandler>) {
  const addresses = addressesOf(handlers);
  const paths: Record<string, Record<string, JsonSchema>> = {};
  for (const [tag, operations] of Object.entries(TAGGED)) {
    for (const [name, operation] of Object.entries(operations)) {
      const address = addresses.get(name) ?? upgradeOf(name);
      if (address === undefined) continue;
      const path = presentPath(address.path);
      (paths[path] ??= {})[address.method.toLowerCase()] = present(address, operation, tag);
    }
  }
  return {
    openapi: OPENAPI,
    info: {
      title: "Atoll",
      version: "1",
      description:
        "What an Atoll control plane answers: the calls of Cloudflare's API that wrangler makes, below `/client/v4`, and calls of its own. Whatever fails is answered in the envelope `Failure`; each such answer is described by the codes that it may be of, which `x-error-codes` explains.",
    },
    servers: [{ url: "/" }],
    tags: Object.keys(TAGGED).map((name) => ({ name })),
    paths,
    components: {
      schemas: {
        Failure: answerSchema(Failure),
        MessageFromNode: requestSchema(MessageFromNode),
        MessageToNode: requestSchema(MessageToNode),
      },
      responses: {
        Failure: {
          description: "Refused, or failed.",
          content: { "application/json": { schema: { $ref: "#/components/schemas/Failure" } } },
        },
      },
      securitySchemes: SECURITY_SCHEMES,
    },
    "x-error-codes": errorCodes(),
    "x-refused-addresses": refusedAddresses(handlers),
  };
}

/** Routes that no operation tells of, as `<method> <path>`: there must be none. */
export function undocumentedRoutes(
  handlers: ReadonlyArray<RegisteredHandler>,
): ReadonlyArray<string> {
  const documented = new Set(Object.values(TAGGED).flatMap(Object.keys));
  return [...addressesOf(handlers).keys()].filter((name) => !documented.has(name));
}

/** Operations that tell of no route. */
export function unroutedOperations(
  handlers: ReadonlyArray<RegisteredHandler>,
): ReadonlyArray<string> {
  const routed = addressesOf(handlers);
  return Object.values(TAGGED)
    .flatMap(Object.keys)
    .filter((name) => !routed.has(name) && !Object.hasOwn(UPGRADES, name));
}

function addressesOf(handlers: ReadonlyArray<RegisteredHandler>): ReadonlyMap<string, Address> {
  const addresses = new Map<string, Address>();
  for (const { method, path, handler } of handlers) {
    // Middleware, and what refuses whatever the method is.
    if (method === "ALL") continue;
    const name = `${method} ${path}`;
    const permission = permissionOf(handler) ?? addresses.get(name)?.permission;
    addresses.set(name, { method, path, permission });
  }
  return addresses;
}

function upgradeOf(name: string): Address | undefined {
  if (!Object.hasOwn(UPGRADES, name)) return undefined;
  const [method = "", path = ""] = name.split(" ");
  return { method, path, permission: undefined };
}

/** Features that Atoll does not have, and keys that are none: answered by name, whatever the method. */
function refusedAddresses(handlers: ReadonlyArray<RegisteredHandler>): ReadonlyArray<string> {
  const refused = handlers.filter(
    ({ method, handler }) => method === "ALL" && permissionOf(handler) !== undefined,
  );
  return [...new Set(refused.map(({ path }) => presentPath(path)))];
}

/** `/a/:b{[\s\S]+}` as `/a/{b}`. */
function presentPath(path: string): string {
  return path.replaceAll(/:(\w+)(\{[^/]*\})?/g, "{$1}");
}

function present(address: Address, operation: Operation, tag: string): JsonSchema {
  const { summary, isOwn = false, body } = operation;
  const { permission } = address;
  const credential = operation.credential ?? "apiToken";
  const parameters = [...pathParameters(address.path), ...queryParameters(operation.query)];
  return {
    operationId: operationId(address),
    tags: [tag],
    summary: `${summary}.`,
    "x-atoll-own": isOwn,
    ...(permission === undefined ? {} : { "x-permission": permission }),
    security: credential === "none" ? [] : [{ [credential]: [] }],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: presentBody(body) }),
    responses: {
      ...presentAnswer(operation),
      ...presentFailures([...commonErrors({ ...address, operation }), ...(operation.errors ?? [])]),
    },
  };
}

function operationId({ method, path }: Address): string {
  const words = presentPath(path)
    .replace("/client/v4", "")
    .split(/[^A-Za-z0-9]+/)
    .filter((word) => word !== "");
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
  return `${method.toLowerCase()}${name === "" ? "Root" : name}`;
}

const PATH_PARAMETERS: Readonly<Record<string, z.ZodType>> = {
  account: AccountId,
  worker: WorkerName,
  namespace: NamespaceId,
  version: z.union([VersionId, z.literal("latest")]),
  hash: BlobHash,
};

function pathParameters(path: string): ReadonlyArray<JsonSchema> {
  return [...path.matchAll(/:(\w+)/g)].map(([, name = ""]) => ({
    name,
    in: "path",
    required: true,
    schema: requestSchema(PATH_PARAMETERS[name] ?? z.string()),
  }));
}

function queryParameters(query: z.ZodObject | undefined): ReadonlyArray<JsonSchema> {
  return Object.entries(query?.shape ?? {}).map(([name, schema]) => ({
    name,
    in: "query",
    required: !z.safeParse(schema as z.ZodType, undefined).success,
    schema: requestSchema(schema as z.ZodType),
  }));
}

function presentBody(body: NonNullable<Operation["body"]>): JsonSchema {
  switch (body.kind) {
    case "json":
      return {
        required: true,
        content: { "application/json": { schema: requestSchema(body.schema) } },
      };
    case "content":
      return { required: true, content: { [body.type]: {} } };
    case "form": {
      const names = Object.keys(body.parts);
      const properties = Object.entries(body.parts).map(([name, schema]) => [
        name,
        requestSchema(schema),
      ]);
      const files =
        body.files === undefined
          ? false
          : { description: `${body.files}.`, contentEncoding: "binary" };
      const schema = {
        type: "object",
        properties: Object.fromEntries(properties),
        required: names,
        additionalProperties: files,
      };
      const encoding = names.map((name) => [name, { contentType: "application/json" }]);
      const form = { schema, encoding: Object.fromEntries(encoding) };
      return { required: true, content: { "multipart/form-data": form } };
    }
  }
}

function presentAnswer({ answer }: Operation): JsonSchema {
  switch (answer.kind) {
    case "result":
      return {
        [answer.status ?? 200]: {
          description: "Done.",
          content: { "application/json": { schema: envelopeOf(answer.schema) } },
        },
      };
    case "json":
      return {
        200: {
          description: "Done.",
          content: { "application/json": { schema: answerSchema(answer.schema) } },
        },
      };
    case "content":
      return { 200: { description: "The content.", content: { [answer.type]: {} } } };
    case "nothing":
      return { 204: { description: "Done." } };
    case "upgrade":
      return { 101: { description: "The connection is a WebSocket." } };
    case "refusal":
      return {};
  }
}

const ResultInfo = z.object({
  page: z.int().optional(),
  per_page: z.int().optional(),
  count: z.int().optional(),
  total_count: z.int().optional(),
  cursor: z.string().optional(),
});

const Failure = z.object({
  success: z.literal(false),
  errors: z.array(z.object({ code: z.int(), message: z.string() })).min(1),
  messages: z.array(z.string()),
  result: z.null(),
});

function envelopeOf(schema: z.ZodType): JsonSchema {
  return answerSchema(
    z.object({
      success: z.literal(true),
      errors: z.array(z.never()),
      messages: z.array(z.string()),
      result: schema,
      result_info: ResultInfo.optional(),
    }),
  );
}

// Beside a reference, a description stands in place of the one that it leads to.
const FAILURE = "#/components/responses/Failure";

function presentFailures(codes: ReadonlyArray<ControlPlaneErrorCode>): JsonSchema {
  const byStatus = Object.groupBy(new Set(codes), (code) => CONTROL_PLANE_ERRORS[code].status);
  return Object.fromEntries(
    Object.entries(byStatus).map(([status, group = []]) => [
      status,
      { $ref: FAILURE, description: group.join(", ") },
    ]),
  );
}

/** What the codes mean that the descriptions of answers name, and by which number each is told. */
function errorCodes(): Readonly<Record<string, JsonSchema>> {
  return Object.fromEntries(
    Object.entries(CONTROL_PLANE_ERRORS).map(([code, { cloudflareCode, retryable, meaning }]) => [
      code,
      { number: cloudflareCode, retryable, meaning },
    ]),
  );
}

const SECURITY_SCHEMES: Readonly<Record<Exclude<Credential, "none">, JsonSchema>> = {
  apiToken: { type: "http", scheme: "bearer", description: "An API token of an account." },
  uploadToken: {
    type: "http",
    scheme: "bearer",
    description: "What the announcement of static files answered as `jwt`.",
  },
  nodeCredential: { type: "http", scheme: "bearer", description: "What enrolling answered." },
};
