import { Hono } from "hono";
import { limitBody, parseInput, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAnyToken, allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment, Principal } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { targetOf } from "../workers/target.ts";
import { splitPattern } from "./route-pattern.ts";
import { RouteRequests, ZonesQuery, type NamedRoute } from "./schemas.ts";
import type { RoutesService } from "./service.ts";
import { zoneId, type ZonesService } from "./zones.ts";

/** Routes of workers, and the zones that wrangler looks them up in. */
export function createRouteRoutes(
  routesService: RoutesService,
  zones: ZonesService,
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
    const query = parseInput(ZonesQuery, context.req.query(), "query");
    const { zones: found, info } = await zones.list(context.var.principal, query);
    return context.json(success(found, info));
  });

  // wrangler asks at the end of a deploy whether another worker has its routes, whatever its token is for.
  routes.get("/zones/:zone/workers/routes", allowAnyToken, async (context) => {
    const zone = context.req.param("zone");
    const { principal } = context.var;
    const all = await routesService.list(principal);
    const found = all.filter(
      (route) =>
        route.kind === "route" &&
        isShown(route, principal) &&
        isInZone(splitPattern(route.pattern).host, zone),
    );
    return context.json(
      success(found.map(({ id, pattern, worker }) => ({ id, pattern, script: worker }))),
    );
  });

  return routes;
}

/** A token of one worker is not told what else its account has. */
function isShown({ worker }: NamedRoute, { scope }: Principal): boolean {
  return scope.kind === "account" || (scope.kind === "worker" && scope.worker === worker);
}

/** Whether the zone is the host or one of the domains above it. */
function isInZone(host: string, zone: string): boolean {
  const labels = host.replace(/^\*\.?/, "").split(".");
  return labels.some((_, index) => zoneId(labels.slice(index).join(".")) === zone);
}
