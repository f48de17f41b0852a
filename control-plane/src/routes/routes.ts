import { createHash } from "node:crypto";
import { Hono } from "hono";
import { limitBody, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAccount, allowAnyToken, allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { targetOf } from "../workers/target.ts";
import type { HostNames } from "./host-names.ts";
import { splitPattern } from "./route-pattern.ts";
import { RouteRequests } from "./schemas.ts";
import type { RoutesService } from "./service.ts";

/**
 * Routes of workers, and the zones that wrangler looks them up in. Nobody registers zones here: every
 * domain name is one, with an id made from its name, so that a lookup needs no row.
 */
export function createRouteRoutes(
  routesService: RoutesService,
  hostNames: HostNames,
): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const path = "/accounts/:account/workers/scripts/:worker/routes";

  routes.put(path, allowWorker("deployer"), limitBody(LIMITS.jsonBodyBytesMax), async (context) => {
    const requests = await readJson(context, RouteRequests);
    const patterns = requests.map(({ pattern }) => pattern);
    await routesService.replaceRoutes(targetOf(context), patterns);
    return context.json(success(patterns.map((pattern) => ({ pattern }))));
  });

  routes.get("/zones", allowAnyToken, async (context) => {
    const name = context.req.query("name")?.toLowerCase() ?? hostNames.baseDomain;
    const { account } = context.var.principal;
    const zone = { id: zoneId(name), name, status: "active", account: { id: account } };
    return context.json(success(/^[a-z0-9_.-]{1,253}$/.test(name) ? [zone] : []));
  });

  routes.get("/zones/:zone/workers/routes", allowAccount("viewer"), async (context) => {
    const zone = context.req.param("zone");
    const all = await routesService.list(context.var.principal);
    const found = all.filter(
      ({ kind, pattern }) => kind === "route" && isInZone(splitPattern(pattern).host, zone),
    );
    return context.json(
      success(found.map(({ id, pattern, worker }) => ({ id, pattern, script: worker }))),
    );
  });

  return routes;
}

function zoneId(name: string): string {
  return createHash("sha256").update(`zone ${name}`).digest("hex").slice(0, 32);
}

/** Whether the zone is the host or one of the domains above it. */
function isInZone(host: string, zone: string): boolean {
  const labels = host.replace(/^\*\.?/, "").split(".");
  return labels.some((_, index) => zoneId(labels.slice(index).join(".")) === zone);
}
