import { Hono } from "hono";
import { parseInput } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAccount } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { UsageQuery } from "./schemas.ts";
import type { UsageService } from "./service.ts";

/** What the account's workers used. */
export function createUsageRoutes(usage: UsageService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.get("/accounts/:account/usage", allowAccount("viewer"), async (context) => {
    const query = parseInput(UsageQuery, context.req.query(), "query");
    const { period, workers, today } = await usage.read(context.var.principal, query);
    return context.json(success({ ...period, workers, today }));
  });

  return routes;
}
