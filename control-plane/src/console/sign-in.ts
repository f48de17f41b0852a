import type { Context } from "hono";
import { html } from "hono/html";
import { bearerToken, callerOf } from "../http/authentication.ts";
import { renderPage, type Html } from "./page.ts";

/** Makes a browser ask. What it then sends is of no use to other sites: only the front page heeds it, and changes nothing. */
export const CHALLENGE =
  'Basic realm="Atoll: any name, and an API token as password", charset="UTF-8"';

/** The API token of an `Authorization` header: as a bearer's, or as the password of any name. */
export function sentToken(header: string | undefined): string | undefined {
  const basic = /^Basic ([A-Za-z0-9+/]{1,8192}={0,2})$/i.exec(header ?? "")?.[1];
  if (basic === undefined) return bearerToken(header);
  const [, password] = /^[^:]*:(.*)$/s.exec(Buffer.from(basic, "base64").toString("utf8")) ?? [];
  return password;
}

/**
 * Whether a request was made on this machine, to a name of this machine, and not passed on. The name keeps out
 * pages of strangers whose own name was made to lead here; they can't send another.
 */
export function isLocal(context: Context): boolean {
  const host = context.req.header("host") ?? "";
  const { address = "" } = callerOf(context);
  const isPassedOn = ["forwarded", "via", "x-forwarded-for", "x-real-ip"].some(
    (name) => context.req.header(name) !== undefined,
  );
  const isHere = /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/i.test(address);
  return isHere && !isPassedOn && /^(127\.0\.0\.1|\[::1\]|localhost)(:\d+)?$/i.test(host);
}

/** What who has no token is told: nothing of the fleet. */
export function renderSignIn(): Html {
  return renderPage(html`
    <h1>Atoll</h1>
    <p>
      This page shows the workers of your account: sign in with any name, and an API token as
      password. <code>atoll status</code> shows the same.
    </p>
  `);
}
