import { z } from "zod";
import { LIMITS } from "../limits.ts";

/** One row of `PUT routes`. Zones are names here, so a zone's id or name adds nothing and is ignored. */
const RouteRequest = z.object({
  pattern: z.string().min(1).max(LIMITS.routePatternCharactersMax),
});
export const RouteRequests = z.array(RouteRequest).max(LIMITS.routesMax);
export type RouteRequests = z.infer<typeof RouteRequests>;

/** Query of `GET /zones`. wrangler and others also send filters that add nothing here, such as `account.id`. */
export const ZonesQuery = z.object({
  name: z.string().optional(),
  page: z.coerce.number().int().min(1).max(LIMITS.domainsMax).default(1),
  /** Cloudflare's own page, and its limit. */
  per_page: z.coerce.number().int().min(1).max(50).default(20),
});
export type ZonesQuery = z.infer<typeof ZonesQuery>;

export type RouteKind = "route" | "custom_domain";

interface StoredRoute {
  readonly id: string;
  readonly account: string;
  readonly workerId: string;
  readonly kind: RouteKind;
  /** `host/path`, as `route-pattern.ts` normalises it. */
  readonly pattern: string;
}

/** A route beside the name of its worker. */
export interface NamedRoute extends StoredRoute {
  readonly worker: string;
}
