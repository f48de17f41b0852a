import { Hono } from "hono";
import { AccountStore } from "../accounts/store.ts";
import { ControlPlaneError } from "../errors.ts";
import { requireToken, type TokenVerifier } from "../http/authentication.ts";
import { limitAddresses, type RequestLimiters } from "../http/rate-limits.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import type { Database } from "../database/database.ts";
import type { DesiredState } from "../desired-state/desired-state.ts";
import type { FleetRegistry } from "../fleet/fleet-registry.ts";
import { readFleetStatus } from "../fleet/status.ts";
import { visibleStatus } from "../fleet/visible-status.ts";
import type { NodesService } from "../nodes/service.ts";
import { renderFrontPage } from "./front-page.ts";
import { CHALLENGE, isLocal, renderSignIn, sentToken } from "./sign-in.ts";

export interface ConsoleRoutesOptions {
  readonly database: Database;
  readonly desiredState: DesiredState;
  readonly nodes: NodesService;
  readonly registry: FleetRegistry;
  readonly limiters: RequestLimiters;
  readonly verifyToken: TokenVerifier;
  /**
   * Whether browsers on this machine see the front page without a token while there is one account: for an
   * Atoll on its developer's machine, and not for one behind a proxy, whose requests all come from here.
   */
  readonly isOpenHere: boolean;
  /** Shown on such a page: the file that `atoll up` wrote for wrangler. */
  readonly environmentFile: string;
}

/** The front page at `/` and the status that `atoll status` reads: each caller sees what is its account's. */
export function createConsoleRoutes(options: ConsoleRoutesOptions): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  const { database, verifyToken, isOpenHere, environmentFile } = options;
  const accounts = new AccountStore();

  routes.get("/", limitAddresses(options.limiters), async (context) => {
    const token = sentToken(context.req.header("authorization"));
    const principal = token === undefined ? undefined : await verifyToken(token);
    const isOpen = isOpenHere && isLocal(context) && (await accounts.count(database, 2)) === 1;
    context.header("cache-control", "no-store");
    // The page is all text and style of ours: whatever else got into it must not run or load.
    context.header(
      "content-security-policy",
      "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    );
    if (principal === undefined && !isOpen) {
      if (context.req.header("accept")?.includes("text/html") !== true) {
        throw new ControlPlaneError("unauthenticated", "The front page needs an API token");
      }
      context.header("www-authenticate", CHALLENGE);
      return context.html(renderSignIn(), 401);
    }
    const status = await readFleetStatus(options);
    const visible =
      principal === undefined ? status : await visibleStatus(database, principal, status);
    return context.html(renderFrontPage(visible, isOpen ? environmentFile : undefined));
  });

  routes.get("/console/status", requireToken(verifyToken), async (context) => {
    const status = await readFleetStatus(options);
    return context.json(await visibleStatus(database, context.var.principal, status));
  });

  return routes;
}
