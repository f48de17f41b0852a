import { getConnInfo } from "@hono/node-server/conninfo";
import type { Context, MiddlewareHandler } from "hono";
import { ControlPlaneError } from "../errors.ts";
import type { ApiEnvironment, Principal } from "./request-context.ts";

/** Finds out whose token this is. `undefined` for one that nobody was given, or that has expired. */
export type TokenVerifier = (token: string) => Promise<Principal | undefined>;

/** Lets only holders of an API token pass, and says who it is. */
export function requireToken(verify: TokenVerifier): MiddlewareHandler<ApiEnvironment> {
  return async (context, next) => {
    if (context.req.header("x-auth-key") !== undefined) {
      throw new ControlPlaneError(
        refusalFor(context.req.path),
        "Authentication error: Atoll has no global API keys; set CLOUDFLARE_API_TOKEN and unset CLOUDFLARE_API_KEY and CLOUDFLARE_EMAIL",
      );
    }
    const token = bearerToken(context.req.header("authorization"));
    const principal = token === undefined ? undefined : await verify(token);
    if (principal === undefined) {
      throw new ControlPlaneError(
        refusalFor(context.req.path),
        "Authentication error: the API token is missing or wrong, or it has expired",
      );
    }
    context.set("principal", { ...principal, ...callerOf(context) });
    await next();
  };
}

/**
 * After a refused call wrangler asks who it is, to explain the refusal. The same code there sends it in
 * circles until it shows a stack trace; with the other one it ends after its first, clear message.
 */
function refusalFor(path: string): "unauthenticated" | "token_unknown" {
  return /\/accounts\/[^/]+\//.test(path) ? "unauthenticated" : "token_unknown";
}

/** Refuses paths of any account but the token's own. Runs after `requireToken`. */
export const requireOwnAccount: MiddlewareHandler<ApiEnvironment> = async (context, next) => {
  const { account } = context.var.principal;
  if (context.req.param("account") !== account) {
    throw new ControlPlaneError(
      "account_forbidden",
      `Authentication error: the API token is not of account '${context.req.param("account")}'`,
    );
  }
  await next();
};

/** Where a call comes from: the other end of its connection, which no header can say. */
export function callerOf(context: Context): { readonly address?: string } {
  const { address } = getConnInfo(context).remote;
  return address === undefined ? {} : { address };
}

/** The credential of an `Authorization: Bearer` header. */
export function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer (\S{1,4096})$/i.exec(header ?? "")?.[1];
}
