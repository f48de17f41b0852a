import { Hono } from "hono";
import { requireOwnAccount, requireToken, type TokenVerifier } from "./authentication.ts";
import type { ApiEnvironment } from "./request-context.ts";

export interface ApiOptions {
  readonly verifyToken: TokenVerifier;
  /** Calls that carry a credential of their own instead of an API token. */
  readonly selfAuthenticated: ReadonlyArray<Hono<ApiEnvironment>>;
  /** Everything else: each sees `principal`, and `:account` of its paths is the caller's own. */
  readonly resources: ReadonlyArray<Hono<ApiEnvironment>>;
}

/** `/client/v4`: what wrangler calls. */
export function createApi(options: ApiOptions): Hono<ApiEnvironment> {
  const api = new Hono<ApiEnvironment>();
  // Before the check of tokens: handlers run in the order in which they were registered.
  for (const routes of options.selfAuthenticated) api.route("/", routes);
  api.use("*", requireToken(options.verifyToken));
  api.use("/accounts/:account/*", requireOwnAccount);
  for (const routes of options.resources) api.route("/", routes);
  return api;
}
