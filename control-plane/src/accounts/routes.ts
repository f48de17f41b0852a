import { Hono } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { success } from "../http/envelope.ts";
import { allowAnyToken } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import type { Role } from "../tokens/schemas.ts";
import type { AccountsService } from "./service.ts";

/** What `wrangler whoami` asks, and wrangler itself when it has no account id. */
export function createAccountRoutes(accounts: AccountsService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.get("/user", allowAnyToken, () => {
    throw new ControlPlaneError("user_unknown", "The API token is of an account, not of a user");
  });

  routes.get("/accounts", allowAnyToken, async (context) => {
    const account = await accounts.get(context.var.principal);
    return context.json(success([{ ...account, type: "standard" }], ONE_PAGE));
  });

  routes.get("/accounts/:account", allowAnyToken, async (context) =>
    context.json(success(await accounts.get(context.var.principal))),
  );

  routes.get("/memberships", allowAnyToken, async (context) => {
    const { role } = context.var.principal;
    const account = await accounts.get(context.var.principal);
    const membership = { id: account.id, status: "accepted", account, roles: [ROLE_NAMES[role]] };
    return context.json(success([membership], ONE_PAGE));
  });

  return routes;
}

const ROLE_NAMES: Readonly<Record<Role, string>> = {
  viewer: "Viewer",
  deployer: "Deployer",
  admin: "Administrator",
};

// A token has exactly one account, so there is never a second page.
const ONE_PAGE = { page: 1, per_page: 50, count: 1, total_count: 1 };
