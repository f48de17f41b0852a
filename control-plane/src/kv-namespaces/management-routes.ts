import { ReadableStream } from "node:stream/web";
import { Hono, type Context } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { limitBody, parseInput, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { limitConcurrency } from "../http/gate.ts";
import { allowAccount, allowNamespace } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { BodyBudget } from "./body-budget.ts";
import { CheckQuery, ExportQuery, RestoreRequest } from "./management-schemas.ts";
import type { KvNamespaceRoutesOptions } from "./routes.ts";
import type { Namespace } from "./schemas.ts";

const NAMESPACE = "/namespaces/:namespace";

/** What `atoll kv` calls, below `/accounts/:account/storage/kv`: none of it is Cloudflare's. */
export function createManagementRoutes(
  options: KvNamespaceRoutesOptions,
  bodies: BodyBudget,
): Hono<ApiEnvironment> {
  const { namespaces, management } = options;
  const routes = new Hono<ApiEnvironment>();
  const limitJson = limitBody(LIMITS.jsonBodyBytesMax);
  const inTurn = limitConcurrency({
    inProgressMax: LIMITS.kvManagementMax,
    waitingMax: LIMITS.kvManagementWaitingMax,
  });

  const namespaceOf = (context: Context<ApiEnvironment>): Promise<Namespace> =>
    namespaces.get(context.var.principal, context.req.param("namespace") ?? "");

  routes.get("/status", allowAccount("viewer"), async (context) => {
    const { principal } = context.var;
    const all = await namespaces.listAll(principal);
    return context.json(success(await management.statusOfListed(principal, all)));
  });

  routes.get(`${NAMESPACE}/status`, allowNamespace("viewer"), async (context) => {
    const namespace = await namespaceOf(context);
    return context.json(success(await management.status(context.var.principal, namespace)));
  });

  routes.get(`${NAMESPACE}/check`, allowNamespace("viewer"), inTurn, async (context) => {
    const { content } = parseInput(CheckQuery, context.req.query(), "query");
    const namespace = await namespaceOf(context);
    const isContentRead = content === "true";
    return context.json(success(await management.check(namespace, { isContentRead })));
  });

  routes.get(`${NAMESPACE}/export`, allowNamespace("deployer"), async (context) => {
    const { at } = parseInput(ExportQuery, context.req.query(), "query");
    const { id: namespace } = await namespaceOf(context);
    const atMs = at === undefined ? undefined : Date.parse(at);
    const { account } = context.var.principal;
    const lines = await management.export({ account, namespace, atMs });
    return context.body(asBody(lines), 200, { "content-type": "application/x-ndjson" });
  });

  routes.post(`${NAMESPACE}/import`, allowNamespace("deployer"), async (context) => {
    const namespace = await namespaceOf(context);
    const { id } = namespace;
    const result = await bodies.read(context.req.raw, LIMITS.kvBulkBodyBytesMax, async (body) => {
      if (body.kind === "content") {
        const lines = decode(body.content);
        const after = { bytes: body.content.length };
        await namespaces.noteRewrite(context.var.principal, namespace, { verb: "import", after });
        return management.import(id, lines);
      }
      const text = `A part of an import has ${body.bytes} bytes or more, over the limit of ${LIMITS.kvBulkBodyBytesMax}`;
      throw new ControlPlaneError("kv_bulk_too_large", text);
    });
    return context.json(success(result));
  });

  routes.post(
    `${NAMESPACE}/restore`,
    allowNamespace("deployer"),
    limitJson,
    inTurn,
    async (context) => {
      const { at, dry_run, after } = await readJson(context, RestoreRequest);
      const namespace = await namespaceOf(context);
      // A restore comes in parts, which are one to whoever reads the trail.
      if (!dry_run && after === null) {
        const rewrite = { verb: "restore", after: { at } } as const;
        await namespaces.noteRewrite(context.var.principal, namespace, rewrite);
      }
      const options = { atMs: Date.parse(at), isDryRun: dry_run, after };
      return context.json(success(await management.restore(namespace.id, options)));
    },
  );

  return routes;
}

/** A line is made when its reader has taken the one before. */
function asBody(lines: AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const encoded = async function* (): AsyncGenerator<Uint8Array> {
    for await (const line of lines) yield Buffer.from(`${line}\n`, "utf8");
  };
  return ReadableStream.from(encoded());
}

function decode(content: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch (cause) {
    throw new ControlPlaneError("kv_import_invalid", "The lines are not valid UTF-8", { cause });
  }
}
