import type { WorkerKey } from "@atoll/control-plane/contract";
import type { Route } from "../ingress.ts";
import { parseRoutePattern, type RoutePattern } from "../route-pattern.ts";

/** What HAProxy finds the worker of a request by. A key that leads nowhere has no entry. */
export interface RouteMaps {
  /**
   * By whole host: its worker, or `?<host>` when the path decides.
   */
  readonly hosts: ReadonlyMap<string, string>;
  /**
   * The same for every host below the key that has no entry nearer to it, and under `*` for all others.
   */
  readonly parents: ReadonlyMap<string, string>;
  /** By `?<host or parent><target>`. */
  readonly paths: ReadonlyMap<string, WorkerKey>;
  /** By the longest `?<host or parent><beginning of the target>`. */
  readonly prefixes: ReadonlyMap<string, WorkerKey>;
}

/**
 * Lays out routes of plain HTTP so that one look-up by host and at most two by path give what
 * `RouteTable.find` gives. The table asks the patterns of less specific hosts where those of a more
 * specific one have no matching path; which hosts these are is known ahead, so each key's entries hold
 * already what it inherits. Throws `route_invalid` when a pattern is malformed.
 */
export function layOutRoutes(routes: ReadonlyArray<Route>): RouteMaps {
  const groups = groupByHost(routes);
  const maps = {
    hosts: new Map<string, string>(),
    parents: new Map<string, string>(),
    paths: new Map<string, WorkerKey>(),
    prefixes: new Map<string, WorkerKey>(),
  };
  const add = (target: Map<string, string>, key: string, chain: ReadonlyArray<Group>): void => {
    const kind = target === maps.hosts ? "=" : "*";
    target.set(key, addPaths(maps, `?${kind}${key}`, flatten(chain)));
  };
  const { exact, subdomains, self } = groups;
  for (const host of new Set([...exact.keys(), ...self.keys()])) {
    add(
      maps.hosts,
      host,
      [exact.get(host), self.get(host), ...inherited(groups, host)].filter(isSet),
    );
  }
  for (const parent of new Set([...subdomains.keys(), ...self.keys()])) {
    const own = [subdomains.get(parent), self.get(parent)];
    add(maps.parents, parent, [...own, ...inherited(groups, parent)].filter(isSet));
  }
  if (groups.every.length > 0) add(maps.parents, EVERY, [groups.every]);
  return maps;
}

const EVERY = "*";

interface PathRoute extends Pick<RoutePattern, "pathKind" | "path"> {
  readonly worker: WorkerKey;
}

/** The routes of one host pattern. */
type Group = ReadonlyArray<PathRoute>;

interface Groups {
  readonly exact: ReadonlyMap<string, Group>;
  readonly subdomains: ReadonlyMap<string, Group>;
  readonly self: ReadonlyMap<string, Group>;
  readonly every: Group;
}

function groupByHost(routes: ReadonlyArray<Route>): Groups {
  const groups = {
    exact: new Map<string, PathRoute[]>(),
    subdomains: new Map<string, PathRoute[]>(),
    "self-and-subdomains": new Map<string, PathRoute[]>(),
    every: new Map<string, PathRoute[]>(),
  };
  const parsed = routes.map(({ pattern, worker }) => ({ ...parseRoutePattern(pattern), worker }));
  // A pattern that names the scheme is more specific than the same without it, so it comes first.
  const ordered = [
    ...parsed.filter(({ scheme }) => scheme === "http"),
    ...parsed.filter(({ scheme }) => scheme === "any"),
  ];
  for (const { hostKind, host, pathKind, path, worker } of ordered) {
    const group = groups[hostKind].get(host) ?? [];
    groups[hostKind].set(host, group);
    group.push({ pathKind, path, worker });
  }
  const { exact, subdomains, "self-and-subdomains": self, every } = groups;
  return { exact, subdomains, self, every: every.get("") ?? [] };
}

/** The groups that a host is looked up in after those of its own name, nearest first. */
function inherited({ subdomains, self, every }: Groups, host: string): ReadonlyArray<Group> {
  const chain: Array<Group | undefined> = [];
  for (let dot = host.indexOf("."); dot !== -1; dot = host.indexOf(".", dot + 1)) {
    const parent = host.slice(dot + 1);
    chain.push(subdomains.get(parent), self.get(parent));
  }
  return [...chain, every].filter(isSet);
}

/** One group that gives for every target what the first group of the chain with a match gives. */
function flatten(chain: ReadonlyArray<Group>): Group {
  const kept: PathRoute[] = [];
  for (const group of chain) {
    const earlier = kept.slice();
    const isDecided = ({ pathKind, path }: PathRoute): boolean =>
      earlier.some((other) =>
        other.pathKind === "prefix"
          ? path.startsWith(other.path)
          : pathKind === "exact" && path === other.path,
      );
    kept.push(...group.filter((route) => !isDecided(route)));
  }
  return kept;
}

/** Adds the entries of one key; returns what the key's own entry says. */
function addPaths(
  maps: { readonly paths: Map<string, WorkerKey>; readonly prefixes: Map<string, WorkerKey> },
  key: string,
  group: Group,
): string {
  const [first] = group;
  const isWhole = group.every(({ pathKind, path }) => pathKind === "prefix" && path === "/");
  if (first !== undefined && isWhole) return first.worker;
  for (const { pathKind, path, worker } of group) {
    const entries = pathKind === "exact" ? maps.paths : maps.prefixes;
    if (!entries.has(key + path)) entries.set(key + path, worker);
  }
  return key;
}

function isSet(group: Group | undefined): group is Group {
  return group !== undefined;
}
