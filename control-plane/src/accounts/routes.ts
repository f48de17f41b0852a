import { Hono } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { success } from "../http/envelope.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import type { AccountsService } from "./service.ts";

/** What `wrangler whoami` asks, and wrangler itself when it has no account id. */
export function createAccountRoutes(accounts: AccountsService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  // A token belongs to an account and to no person: by these codes wrangler knows it as such.
  routes.get("/user/tokens/verify", () => {
    throw new ControlPlaneError("token_not_personal", "The API token is valid, and of an account");
  });
  routes.get("/user", () => {
    throw new ControlPlaneError("user_unknown", "The API token is of an account, not of a user");
  });

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
