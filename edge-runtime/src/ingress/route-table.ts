import type { WorkerKey } from "@atoll/control-plane/contract";
import type { Route } from "./ingress.ts";
import { parseRoutePattern, type RoutePattern, type RouteScheme } from "./route-pattern.ts";

/** What of a request decides its worker. */
export interface RouteQuery {
  readonly scheme: "http" | "https";
  /** Lower case, without port. */
  readonly host: string;
  /** The request's target in origin form: path and query as they were sent. */
  readonly target: string;
}

/**
 * Finds the worker of a request, the most specific pattern first: an exact host before a wildcard, a
 * longer wildcard suffix before a shorter one; under one host an exact path before a prefix, a longer
 * prefix before a shorter one, a pattern with a scheme before one without. Where the patterns of the
 * more specific host have no matching path, those of the less specific host are asked.
 *
 * Two routes with the same pattern are a contradiction that the control plane refuses; here the first holds.
 */
export class RouteTable {
  readonly #exact = new Map<string, PathTable>();
  /** Keyed by the part behind `*.`. */
  readonly #subdomains = new Map<string, PathTable>();
  /** Keyed by the part behind `*`. */
  readonly #selfAndSubdomains = new Map<string, PathTable>();
  readonly #every = new PathTable();

  /** Throws `route_invalid` when a pattern is malformed. */
  constructor(routes: ReadonlyArray<Route>) {
    for (const { pattern, worker } of routes) {
      const parsed = parseRoutePattern(pattern);
      this.#tableFor(parsed).add(parsed, worker);
    }
  }

  find(query: RouteQuery): WorkerKey | undefined {
    const { host } = query;
    const target = normalizeTarget(query.target);
    const found =
      this.#exact.get(host)?.find(query.scheme, target) ??
      this.#selfAndSubdomains.get(host)?.find(query.scheme, target);
    if (found !== undefined) return found;
    for (let dot = host.indexOf("."); dot !== -1; dot = host.indexOf(".", dot + 1)) {
      const parent = host.slice(dot + 1);
      // `*.example.com` is the longer pattern of the two, so it is asked first.
      const inherited =
        this.#subdomains.get(parent)?.find(query.scheme, target) ??
        this.#selfAndSubdomains.get(parent)?.find(query.scheme, target);
      if (inherited !== undefined) return inherited;
    }
    return this.#every.find(query.scheme, target);
  }

  #tableFor(pattern: RoutePattern): PathTable {
    if (pattern.hostKind === "every") return this.#every;
    const tables = {
      exact: this.#exact,
      subdomains: this.#subdomains,
      "self-and-subdomains": this.#selfAndSubdomains,
    }[pattern.hostKind];
    const table = tables.get(pattern.host) ?? new PathTable();
    tables.set(pattern.host, table);
    return table;
  }
}

/** The paths of one host pattern. */
class PathTable {
  readonly #exact = new Map<string, SchemeChoice>();
  /** Longest first, so that the first match is the most specific one. */
  readonly #prefixes: Array<{ readonly path: string; readonly choice: SchemeChoice }> = [];

  add(pattern: RoutePattern, worker: WorkerKey): void {
    const choice =
      pattern.pathKind === "exact" ? this.#exactChoice(pattern.path) : this.#prefix(pattern.path);
    choice[pattern.scheme] ??= worker;
  }

  find(scheme: "http" | "https", target: string): WorkerKey | undefined {
    const exact = this.#exact.get(target);
    const found = exact?.[scheme] ?? exact?.any;
    if (found !== undefined) return found;
    for (const { path, choice } of this.#prefixes) {
      const worker = choice[scheme] ?? choice.any;
      if (worker !== undefined && target.startsWith(path)) return worker;
    }
    return undefined;
  }

  #exactChoice(path: string): SchemeChoice {
    const choice = this.#exact.get(path) ?? {};
    this.#exact.set(path, choice);
    return choice;
  }

  #prefix(path: string): SchemeChoice {
    const known = this.#prefixes.find((prefix) => prefix.path === path);
    if (known !== undefined) return known.choice;
    const choice: SchemeChoice = {};
    this.#prefixes.push({ path, choice });
    this.#prefixes.sort((one, other) => other.path.length - one.path.length);
    return choice;
  }
}

type SchemeChoice = { [Scheme in RouteScheme]?: WorkerKey };

// What a URL parser would change: dot segments, also percent-encoded, and backslashes. The worker reads
// its URL through such a parser, so `/public/../admin` must be routed as the `/admin` that it will see.
const UNNORMALIZED = /\/\.|%2e|\\/i;

function normalizeTarget(target: string): string {
  if (!UNNORMALIZED.test(target)) return target;
  const url = new URL(`http://host${target}`);
  return url.pathname + url.search;
}
