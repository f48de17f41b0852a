import { ControlPlaneError } from "../errors.ts";
import type { HostNames } from "./host-names.ts";
import { hostsOverlap, splitPattern } from "./route-pattern.ts";
import type { NamedRoute } from "./schemas.ts";

/** A worker by whose name nobody else may be reached. */
export interface NamedWorker {
  readonly account: string;
  readonly name: string;
}

/** All that a new pattern may collide with. */
export interface Neighbours {
  readonly hostNames: HostNames;
  readonly routes: ReadonlyArray<NamedRoute>;
  readonly workers: ReadonlyArray<NamedWorker>;
}

/**
 * Refuses a pattern that leads a request away from where it goes now: one that another worker has, and
 * one that reaches into the hosts of another account. Within an account more specific patterns may
 * overlap, as documented.
 */
export function checkPattern(pattern: string, owner: NamedWorker, neighbours: Neighbours): void {
  const { hostNames, routes, workers } = neighbours;
  const { host, path } = splitPattern(pattern);
  const hostHolder = workers.find(({ name }) => host === hostNames.hostOf(name));
  const isForeign =
    (hostHolder !== undefined && hostHolder.account !== owner.account) ||
    routes.some(
      (route) =>
        route.account !== owner.account &&
        collides(host, splitPattern(route.pattern).host, hostNames),
    );
  if (isForeign) {
    throw new ControlPlaneError(
      "route_conflict",
      `The route '${pattern}' is refused: its host belongs to another account`,
    );
  }
  const same = routes.find((route) => route.pattern === pattern && route.worker !== owner.name);
  const holder = same?.worker ?? (path === "/*" ? hostHolder?.name : undefined);
  if (holder === undefined || holder === owner.name) return;
  throw new ControlPlaneError(
    "route_conflict",
    `A worker with the same route exists: '${pattern}' leads to '${holder}'. Remove it there first.`,
  );
}

/** Whether the pattern takes requests to a host that another worker of the account has, by name or by a route. */
export function reachesIntoOthers(
  pattern: string,
  owner: NamedWorker,
  { hostNames, routes, workers }: Neighbours,
): boolean {
  const { host } = splitPattern(pattern);
  return (
    workers.some(({ name }) => name !== owner.name && host === hostNames.hostOf(name)) ||
    routes.some(
      ({ worker, pattern: other }) =>
        worker !== owner.name && collides(host, splitPattern(other).host, hostNames),
    )
  );
}

/** Refuses a host of a new worker, or of a preview, that is another account's route already. */
export function checkOwnHost(
  host: string,
  routes: ReadonlyArray<NamedRoute>,
  account: string,
): void {
  // Wildcards over the base domain are no obstacle: a worker's own host is more specific.
  const foreign = routes.find(
    (route) => route.account !== account && splitPattern(route.pattern).host === host,
  );
  if (foreign === undefined) return;
  throw new ControlPlaneError("route_conflict", `The host ${host} is the route of another account`);
}

/** Whether a pattern takes every host below the base domain that nobody else has. */
export function takesCommonGround(pattern: string, { baseDomain }: HostNames): boolean {
  const { host } = splitPattern(pattern);
  return host === `*.${baseDomain}` || host === `*${baseDomain}`;
}

/**
 * Whether one host takes requests from the other. The base domain is common ground, where each account
 * has hosts beside the others: there only the same host collides. Elsewhere any overlap does.
 */
function collides(host: string, other: string, { baseDomain }: HostNames): boolean {
  const isCommonGround = [host, other].every((name) => name.endsWith(`.${baseDomain}`));
  return isCommonGround ? host === other : hostsOverlap(host, other);
}
