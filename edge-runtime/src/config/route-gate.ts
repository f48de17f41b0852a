import type { AssetRoutes } from "@atoll/control-plane/contract";
import { list, quote, struct, type Expression } from "./capnp-text.ts";

/**
 * The service between a site's router and its code, where the site says which paths are the code's (`_routes.json`
 * of Pages): every other path is answered with files alone, also one that no file has. The router by itself would
 * give such a path to the code.
 */
export function routeGate(options: {
  readonly name: string;
  /** Name of the service with the worker's code. */
  readonly code: string;
  /** Name of the service with the site. */
  readonly site: string;
  readonly routes: AssetRoutes;
  /** The worker's own: the router takes from this service how to answer for files. */
  readonly compatibility: Readonly<Record<string, Expression>>;
}): Expression {
  const { name, code, site, routes, compatibility } = options;
  const source = `const include = ${regexpsOf(routes.include)};
const exclude = ${regexpsOf(routes.exclude)};
export default {
  fetch(request, { CODE, FILES }) {
    const { pathname } = new URL(request.url);
    const matches = (rule) => rule.test(pathname);
    return (include.some(matches) && !exclude.some(matches) ? CODE : FILES).fetch(request);
  },
};`;
  const files = struct({ name: quote(site), entrypoint: quote("AssetWorker") });
  return struct({
    name: quote(name),
    worker: struct({
      modules: list([struct({ name: quote("gate.js"), esModule: quote(source) })]),
      ...compatibility,
      bindings: list([
        struct({ name: quote("CODE"), service: quote(code) }),
        struct({ name: quote("FILES"), service: files }),
      ]),
    }),
  });
}

function regexpsOf(rules: ReadonlyArray<string>): string {
  return `${JSON.stringify(rules.map(patternOf))}.map((pattern) => new RegExp(pattern))`;
}

/**
 * As Pages reads a rule: `*` is any text, and a slash at the end of what remains may be there or not, so that
 * `/api/*` is also `/api`.
 */
function patternOf(rule: string): string {
  const escaped = (text: string): string =>
    text.replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`).replaceAll("*", ".*");
  if (rule === "/" || rule === "/*") return `^${escaped(rule)}$`;
  if (rule.endsWith("/*")) return `^${escaped(rule.slice(0, -2))}(/.*)?$`;
  if (rule.endsWith("/")) return `^${escaped(rule.slice(0, -1))}/?$`;
  if (rule.endsWith("*")) return `^${escaped(rule)}$`;
  return `^${escaped(rule)}/?$`;
}
