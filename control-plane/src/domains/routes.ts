import { Hono } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { limitBody, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAccount, allowWorker } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { splitPattern } from "../routes/route-pattern.ts";
import type { NamedRoute } from "../routes/schemas.ts";
import { domainPattern, type RoutesService } from "../routes/service.ts";
import { targetOf } from "../workers/target.ts";
import { ChangesetRequest, RecordsRequest } from "./schemas.ts";

const WORKERS = "/accounts/:account/workers";
const SCRIPT = `${WORKERS}/scripts/:worker`;

/** Custom domains, which are routes for the whole of a host. */
export function createDomainRoutes(routesService: RoutesService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const bound = limitBody(LIMITS.jsonBodyBytesMax);

  routes.post(`${SCRIPT}/domains/changeset`, allowWorker("deployer"), bound, async (context) => {
    const wanted = await readJson(context, ChangesetRequest);
    const patterns = wanted.map(({ hostname }) => domainPattern(hostname));
    const { name } = targetOf(context);
    const existing = (await routesService.list(context.var.principal)).filter(isDomain);
    const own = existing.filter(({ worker }) => worker === name);
    const taken = existing.filter((row) => row.worker !== name && patterns.includes(row.pattern));
    const isKnown = (pattern: string): boolean => existing.some((row) => row.pattern === pattern);
    const changeset = {
      added: wanted.filter(({ hostname }) => !isKnown(domainPattern(hostname))),
      removed: own.filter(({ pattern }) => !patterns.includes(pattern)).map(presentDomain),
      updated: own
        .filter(({ pattern }) => patterns.includes(pattern))
        .map((row) => ({ ...presentDomain(row), modified: false })),
      conflicting: taken.map(presentDomain),
    };
    return context.json(success(changeset));
  });

  routes.put(`${SCRIPT}/domains/records`, allowWorker("deployer"), bound, async (context) => {
    const { origins, override_existing_origin } = await readJson(context, RecordsRequest);
    const hosts = origins.map(({ hostname }) => hostname);
    const isTakingOver = override_existing_origin === true;
    await routesService.replaceDomains(targetOf(context), { hosts, isTakingOver });
    return context.json(success(origins));
  });

  routes.get(`${WORKERS}/domains/records`, allowAccount("viewer"), async (context) => {
    const all = await routesService.list(context.var.principal);
    return context.json(success(all.filter(isDomain).map(presentDomain)));
  });

  routes.get(`${WORKERS}/domains/records/:id`, allowAccount("viewer"), async (context) => {
    const all = await routesService.list(context.var.principal);
    const found = all.filter(isDomain).find(({ id }) => id === context.req.param("id"));
    if (found !== undefined) return context.json(success(presentDomain(found)));
    throw new ControlPlaneError("not_found", "There is no custom domain with this id");
  });

  return routes;
}

function isDomain({ kind }: NamedRoute): boolean {
  return kind === "custom_domain";
}

function presentDomain(route: NamedRoute): Readonly<Record<string, string>> {
  const { host } = splitPattern(route.pattern);
  return { id: route.id, hostname: host, service: route.worker, environment: "production" };
}
