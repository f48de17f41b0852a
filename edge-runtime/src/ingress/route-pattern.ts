import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** Which scheme a route is for; `any` when the pattern names none. */
export type RouteScheme = "any" | "http" | "https";

/**
 * A parsed Workers route pattern: `[http://|https://]host[/path]`. `*` may stand at the start of the
 * host and at the end of the path, and nowhere else.
 */
export interface RoutePattern {
  readonly scheme: RouteScheme;
  /**
   * `exact` is one host. `subdomains` (`*.example.com`) is what lies below the host, without itself;
   * `self-and-subdomains` (`*example.com`) is both. `every` is a lone `*`.
   */
  readonly hostKind: "exact" | "subdomains" | "self-and-subdomains" | "every";
  /** Lower case, without the wildcard and its dot; empty for `every`. */
  readonly host: string;
  /** `exact` matches one path without a query; `prefix` all that begins so, queries included. */
  readonly pathKind: "exact" | "prefix";
  /** Begins with `/`, without the wildcard. Case matters. */
  readonly path: string;
}

const SHAPE = /^(?:(https?):\/\/)?([^/]*)(\/.*)?$/i;
// Labels of letters, digits, `-` and `_` (names of workers may have one). Hosts are ASCII: wrangler and
// browsers send internationalised names in their `xn--` form.
const HOST = /^[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*$/;

/** Throws `route_invalid` with the pattern and the rule that it breaks. */
export function parseRoutePattern(pattern: string): RoutePattern {
  if (pattern.length > LIMITS.routePatternLengthMax) {
    throw invalid(
      pattern.slice(0, 64),
      `is longer than ${LIMITS.routePatternLengthMax} characters`,
    );
  }
  const shape = SHAPE.exec(pattern);
  if (shape === null) throw invalid(pattern, "contains a line break");
  const [, scheme, host = "", path = "/"] = shape;
  return {
    scheme: scheme === undefined ? "any" : (scheme.toLowerCase() as RouteScheme),
    ...parseHost(pattern, host.toLowerCase()),
    ...parsePath(pattern, path),
  };
}

function parseHost(pattern: string, host: string): Pick<RoutePattern, "hostKind" | "host"> {
  if (host === "*") return { hostKind: "every", host: "" };
  if (host.includes(":")) throw invalid(pattern, "names a port; routes hold for every port");
  const hostKind = host.startsWith("*.")
    ? "subdomains"
    : host.startsWith("*")
      ? "self-and-subdomains"
      : "exact";
  const name = host.slice({ subdomains: 2, "self-and-subdomains": 1, exact: 0 }[hostKind]);
  if (name.includes("*")) {
    throw invalid(pattern, "has a '*' inside its host; one may stand at its start only");
  }
  if (name.length > 253 || !HOST.test(name)) {
    throw invalid(pattern, `has no valid host: '${name}'`);
  }
  return { hostKind, host: name };
}

function parsePath(pattern: string, path: string): Pick<RoutePattern, "pathKind" | "path"> {
  if (/[?#]/.test(path)) throw invalid(pattern, "has a query or a fragment; routes match neither");
  if (/[^\u0021-\u007e]/.test(path)) {
    throw invalid(pattern, "has a blank or a character in its path that must be percent-encoded");
  }
  const wildcard = path.indexOf("*");
  if (wildcard === -1) return { pathKind: "exact", path };
  if (wildcard !== path.length - 1) {
    throw invalid(pattern, "has a '*' inside its path; one may stand at its end only");
  }
  return { pathKind: "prefix", path: path.slice(0, -1) };
}

function invalid(pattern: string, rule: string): EdgeError {
  return new EdgeError("route_invalid", `the route pattern '${pattern}' ${rule}`);
}
