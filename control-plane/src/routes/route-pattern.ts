import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** A route's two halves; a host may begin with `*`, a path may end with it. */
export interface RoutePattern {
  readonly host: string;
  readonly path: string;
}

/**
 * The form in which patterns are kept and compared: no scheme, host in lower case without a port, path
 * at least `/`. Throws `route_invalid` for what documented route patterns cannot be.
 */
export function normalizePattern(text: string): string {
  const bare = text.trim().replace(/^https?:\/\//i, "");
  const slash = bare.indexOf("/");
  const host = (slash === -1 ? bare : bare.slice(0, slash)).toLowerCase();
  const path = slash === -1 ? "/" : bare.slice(slash);
  const reason = hostProblem(host) ?? pathProblem(path);
  if (reason !== undefined) {
    throw new ControlPlaneError(
      "route_invalid",
      `The route '${text.slice(0, 200)}' is no good: ${reason}`,
    );
  }
  return `${host}${path}`;
}

export function splitPattern(pattern: string): RoutePattern {
  const slash = pattern.indexOf("/");
  return { host: pattern.slice(0, slash), path: pattern.slice(slash) };
}

/**
 * Whether some host name matches both. `*.a.com` is what lies below `a.com`, `*a.com` that and `a.com`
 * itself, as nodes match them.
 */
export function hostsOverlap(left: string, right: string): boolean {
  const one = hostSet(left);
  const other = hostSet(right);
  if (one.name === other.name) {
    return (one.hasSelf && other.hasSelf) || (one.hasSubdomains && other.hasSubdomains);
  }
  return (
    (other.hasSubdomains && one.name.endsWith(`.${other.name}`)) ||
    (one.hasSubdomains && other.name.endsWith(`.${one.name}`))
  );
}

/**
 * All hosts of patterns that `hostsOverlap` with this one: some by name, and, when it has subdomains, every
 * one below a name.
 */
export function overlappingHosts(host: string): {
  readonly hosts: ReadonlyArray<string>;
  readonly below: string | undefined;
} {
  const { name, hasSubdomains } = hostSet(host);
  const labels = name.split(".");
  const above = labels.map((_, index) => labels.slice(index).join("."));
  const hosts = above.flatMap((each) => [each, `*${each}`, `*.${each}`]);
  return { hosts, below: hasSubdomains ? name : undefined };
}

/** A host as it is looked up: its labels from the last to the first, so that what lies below a name lies together. */
export function hostKey(host: string): string {
  return host.split(".").toReversed().join(".");
}

function hostSet(host: string) {
  const hasSubdomains = host.startsWith("*");
  return {
    name: host.replace(/^\*\.?/, ""),
    hasSelf: !host.startsWith("*."),
    hasSubdomains,
  };
}

function hostProblem(host: string): string | undefined {
  const name = host.startsWith("*") ? host.slice(1).replace(/^\./, "") : host;
  if (name.includes(":")) return "a host has no port";
  if (name.includes("*")) return "a host may have '*' only as its first character";
  if (name.length > 253) return "a host name has at most 253 characters";
  const isName = name
    .split(".")
    .every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label));
  return isName ? undefined : `'${host}' is not a host name`;
}

function pathProblem(path: string): string | undefined {
  if (path.length > LIMITS.routePatternCharactersMax) return "its path is too long";
  if (/[?#]/.test(path)) return "a path has no '?' and no '#'";
  if (path.slice(0, -1).includes("*")) return "a path may have '*' only as its last character";
  // Browsers and workers see a path in its encoded form: another one would match nothing.
  if (/[^\u0021-\u007e]/.test(path)) {
    return "a path has no spaces, and other characters than ASCII in it are percent-encoded";
  }
  return undefined;
}
