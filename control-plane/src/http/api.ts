import { Hono, type MiddlewareHandler } from "hono";
import { requireOwnAccount, requireToken, type TokenVerifier } from "./authentication.ts";
import { requireDeclarations } from "./permissions.ts";
import { limitAddresses, limitTokens, type RequestLimiters } from "./rate-limits.ts";
import type { ApiEnvironment } from "./request-context.ts";

export interface ApiOptions {
  readonly limiters: RequestLimiters;
  readonly verifyToken: TokenVerifier;
  /** Calls that carry a credential of their own instead of an API token. */
  readonly selfAuthenticated: ReadonlyArray<Hono<ApiEnvironment>>;
  /** Resolves when what was changed so far serves, or after a bound. */
  readonly whenServed: () => Promise<void>;
  /**
   * Everything else: each sees `principal`, and `:account` of its paths is the caller's own. Each route
   * declares the permission that it needs.
   */
  readonly resources: ReadonlyArray<Hono<ApiEnvironment>>;
}

/** `/client/v4`: what wrangler calls. Throws when a route declares no permission. */
export function createApi(options: ApiOptions): Hono<ApiEnvironment> {
  requireDeclarations(options.resources);
  const api = new Hono<ApiEnvironment>();
  api.use("*", limitAddresses(options.limiters));
  // Before the check of tokens: handlers run in the order in which they were registered.
  for (const routes of options.selfAuthenticated) api.route("/", routes);
  api.use("*", requireToken(options.verifyToken));
  api.use("*", limitTokens(options.limiters));
  api.use("/accounts/:account/*", requireOwnAccount);
  for (const path of ["workers", "pages"]) {
    api.use(`/accounts/:account/${path}/*`, answerWhenServed(options.whenServed));
  }
  for (const routes of options.resources) api.route("/", routes);
  return api;
}

/**
 * Whoever was told that a deploy succeeded expects to see it: a change of workers is answered when it
 * serves. It is recorded by then, so an answer that never arrives takes nothing back.
 */
function answerWhenServed(whenServed: () => Promise<void>): MiddlewareHandler<ApiEnvironment> {
  return async (context, next) => {
    await next();
    if (context.req.method !== "GET" && context.res.ok) await whenServed();
  };
}
