import { Hono } from "hono";
import { limitBody, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAccount } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { DomainRequest } from "./schemas.ts";
import type { DomainsService } from "./service.ts";

const DOMAINS = "/accounts/:account/domains";

/** What `atoll domain` calls: an account's domains, and how it proves them. */
export function createOwnershipRoutes(domains: DomainsService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.get(DOMAINS, allowAccount("viewer"), async (context) =>
    context.json(success(await domains.list(context.var.principal))),
  );

  const bound = limitBody(LIMITS.jsonBodyBytesMax);
  routes.post(DOMAINS, allowAccount("deployer"), bound, async (context) => {
    const { domain } = await readJson(context, DomainRequest);
    return context.json(success(await domains.add(context.var.principal, domain)));
  });

  routes.post(`${DOMAINS}/:domain/verify`, allowAccount("deployer"), async (context) => {
    const domain = context.req.param("domain");
    return context.json(success(await domains.verify(context.var.principal, domain)));
  });

  routes.delete(`${DOMAINS}/:domain`, allowAccount("deployer"), async (context) => {
    const domain = await domains.remove(context.var.principal, context.req.param("domain"));
    return context.json(success({ domain }));
  });

  return routes;
}
