import { Hono } from "hono";
import type { Database } from "../database/database.ts";
import { parseInput } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAccount } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { AuditQuery } from "./schemas.ts";
import { AuditStore } from "./store.ts";

/** What `atoll audit` calls: who changed what of the account, for its admins. */
export function createAuditRoutes(database: Database): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const store = new AuditStore();
  routes.get("/accounts/:account/audit", allowAccount("admin"), async (context) => {
    const query = parseInput(AuditQuery, context.req.query(), "query");
    const records = await store.list(database, context.var.principal.account, query);
    const last = records.length < query.limit ? undefined : records.at(-1);
    const info = { count: records.length, cursor: last === undefined ? "" : String(last.sequence) };
    return context.json(success(records, info));
  });
  return routes;
}
