import { Hono } from "hono";
import { success } from "../http/envelope.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import type { AccountsService } from "./service.ts";

/** What `wrangler whoami` asks, and wrangler itself when it has no account id. */
export function createAccountRoutes(accounts: AccountsService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  // A token belongs to an account and to no person; wrangler prints what stands in place of an address.
  routes.get("/user", async (context) => {
    const { id, name } = await accounts.get(context.var.principal);
    return context.json(success({ id, email: `token-of-${name.toLowerCase()}@atoll.invalid` }));
  });

  routes.get("/user/tokens/verify", (context) =>
    context.json(success({ id: context.var.principal.tokenId, status: "active" })),
  );

  routes.get("/accounts", async (context) => {
    const account = await accounts.get(context.var.principal);
    return context.json(success([{ ...account, type: "standard" }], ONE_PAGE));
  });

  routes.get("/accounts/:account", async (context) =>
    context.json(success(await accounts.get(context.var.principal))),
  );

  routes.get("/memberships", async (context) => {
    const account = await accounts.get(context.var.principal);
    const membership = { id: account.id, status: "accepted", account, roles: ["Administrator"] };
    return context.json(success([membership], ONE_PAGE));
  });

  return routes;
}

// A token has exactly one account, so there is never a second page.
const ONE_PAGE = { page: 1, per_page: 50, count: 1, total_count: 1 };
