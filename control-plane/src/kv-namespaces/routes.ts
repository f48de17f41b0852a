import { Hono, type Context } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { limitBody, parseInput, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAccount, allowNamespace } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { KvCharges } from "../usage/kv-charges.ts";
import { BodyBudget } from "./body-budget.ts";
import type { EntriesService } from "./entries-service.ts";
import { createEntryRoutes } from "./entry-routes.ts";
import { createManagementRoutes } from "./management-routes.ts";
import type { ManagementService } from "./management-service.ts";
import { NamespaceQuery, TitleRequest, type Namespace } from "./schemas.ts";
import type { NamespacesService } from "./service.ts";

const NAMESPACES = "/accounts/:account/storage/kv/namespaces";

export interface KvNamespaceRoutesOptions {
  readonly namespaces: NamespacesService;
  readonly entries: EntriesService;
  readonly management: ManagementService;
  readonly charges: Pick<KvCharges, "charge">;
}

/** `wrangler kv`: the namespaces themselves, and below each of them its keys. */
export function createKvNamespaceRoutes(options: KvNamespaceRoutesOptions): Hono<ApiEnvironment> {
  const { namespaces } = options;
  const routes = new Hono<ApiEnvironment>();
  const limitJson = limitBody(LIMITS.jsonBodyBytesMax);
  const bodies = new BodyBudget({
    bytesMax: LIMITS.kvBodyBytesInFlightMax,
    drainBytesMax: LIMITS.discardedBodyBytesMax,
  });

  routes.post(NAMESPACES, allowAccount("deployer"), limitJson, async (context) => {
    const { title } = await readJson(context, TitleRequest);
    const namespace = await namespaces.create(context.var.principal, title);
    return context.json(success(present(namespace)));
  });

  routes.get(NAMESPACES, allowAccount("viewer"), async (context) => {
    const query = parseInput(NamespaceQuery, context.req.query(), "query");
    const page = await namespaces.list(context.var.principal, query);
    // The SDK that wrangler lists with asks for page after page until one is empty.
    const info = {
      page: query.page,
      per_page: query.per_page,
      count: page.namespaces.length,
      total_count: page.totalCount,
    };
    return context.json(success(page.namespaces.map(present), info));
  });

  routes.get(`${NAMESPACES}/:namespace`, allowNamespace("viewer"), async (context) => {
    const id = context.req.param("namespace");
    return context.json(success(present(await namespaces.get(context.var.principal, id))));
  });

  routes.put(`${NAMESPACES}/:namespace`, allowNamespace("deployer"), limitJson, async (context) => {
    const { title } = await readJson(context, TitleRequest);
    const id = context.req.param("namespace");
    const namespace = await namespaces.rename(context.var.principal, id, title);
    return context.json(success(present(namespace)));
  });

  routes.delete(`${NAMESPACES}/:namespace`, allowNamespace("deployer"), async (context) => {
    await namespaces.remove(context.var.principal, context.req.param("namespace"));
    return context.json(success(null));
  });

  routes.route("/accounts/:account/storage/kv", createManagementRoutes(options, bodies));
  routes.route(`${NAMESPACES}/:namespace`, createEntryRoutes(options, bodies));
  // A client resolves the keys '.' and '..' as parts of the path before it sends it: that is how they arrive,
  // and a deletion of '..' must not become one of the namespace.
  for (const rest of ["/", "/values", "/values/", "/metadata", "/metadata/"]) {
    routes.all(`${NAMESPACES}/:namespace${rest}`, allowNamespace("viewer"), refuseDots);
  }
  return routes;
}

function refuseDots(context: Context): never {
  throw new ControlPlaneError(
    "kv_key_invalid",
    `Illegal key name: '${context.req.path}' names no key, and keys must not be empty, '.' or '..'`,
  );
}

function present(namespace: Namespace): object {
  return { ...namespace, supports_url_encoding: true };
}
