import { Hono, type MiddlewareHandler } from "hono";
import type { ApiEnvironment } from "../http/request-context.ts";
import type { Database } from "../database/database.ts";
import type { DesiredState } from "../desired-state/desired-state.ts";
import type { FleetRegistry } from "../fleet/fleet-registry.ts";
import { readFleetStatus } from "../fleet/status.ts";
import { visibleStatus } from "../fleet/visible-status.ts";
import type { NodesService } from "../nodes/service.ts";
import { renderFrontPage } from "./front-page.ts";

export interface ConsoleRoutesOptions {
  readonly database: Database;
  readonly desiredState: DesiredState;
  readonly nodes: NodesService;
  readonly registry: FleetRegistry;
  /** Lets only holders of an API token pass. */
  readonly requireToken: MiddlewareHandler<ApiEnvironment>;
  /** Shown on the front page: the file that `atoll up` wrote for wrangler. */
  readonly environmentFile: string;
}

/** The front page at `/` and the status that `atoll status` reads. */
export function createConsoleRoutes(options: ConsoleRoutesOptions): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.get("/", async (context) => {
    const status = await readFleetStatus(options);
    context.header("cache-control", "no-store");
    // The page is all text and style of ours: whatever else got into it must not run or load.
    context.header(
      "content-security-policy",
      "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    );
    return context.html(renderFrontPage(status, options.environmentFile));
  });

  routes.get("/console/status", options.requireToken, async (context) => {
    const status = await readFleetStatus(options);
    return context.json(await visibleStatus(options.database, context.var.principal, status));
  });

  return routes;
}
