import { Hono } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { limitBody, readJson } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowAccount, allowAnyToken } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { TokenRequest } from "./schemas.ts";
import type { TokensService } from "./service.ts";

const TOKENS = "/accounts/:account/tokens";

/** What `atoll token` calls, and how a token finds out about itself. */
export function createTokenRoutes(tokens: TokensService): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  // A token belongs to an account and to no person: by this code wrangler knows it as such.
  routes.get("/user/tokens/verify", allowAnyToken, () => {
    throw new ControlPlaneError("token_not_personal", "The API token is valid, and of an account");
  });

  routes.get(`${TOKENS}/verify`, allowAnyToken, async (context) => {
    const token = await tokens.describe(context.var.principal);
    return context.json(success({ ...token, status: "active" }));
  });

  routes.get(TOKENS, allowAccount("admin"), async (context) =>
    context.json(success(await tokens.list(context.var.principal))),
  );

  const bound = limitBody(LIMITS.jsonBodyBytesMax);
  routes.post(TOKENS, allowAccount("admin"), bound, async (context) => {
    const request = await readJson(context, TokenRequest);
    return context.json(success(await tokens.create(context.var.principal, request)));
  });

  routes.delete(`${TOKENS}/:token`, allowAccount("admin"), async (context) => {
    const id = context.req.param("token") ?? "";
    await tokens.revoke(context.var.principal, id);
    return context.json(success({ id }));
  });

  return routes;
}
