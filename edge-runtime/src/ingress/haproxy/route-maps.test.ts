import fc from "fast-check";
import { expect, test } from "vitest";
import type { Route } from "../ingress.ts";
import { RouteTable } from "../route-table.ts";
import { layOutRoutes, type RouteMaps } from "./route-maps.ts";

const worker = (name: string): Route["worker"] => `${"0".repeat(32)}/${name}`;

/** What the rules of the configuration find, in their order. */
function find(maps: RouteMaps, host: string, target: string): string | undefined {
  const labels = host.split(".");
  const parents = labels.slice(1).map((_, index) => labels.slice(index + 1).join("."));
  const parent = [...parents, "*"].find((name) => maps.parents.has(name)) ?? "*";
  const route = maps.hosts.get(host) ?? maps.parents.get(parent);
  if (route?.startsWith("?") !== true) return route;
  const place = route + target;
  const longest = [...maps.prefixes.keys()]
    .filter((prefix) => place.startsWith(prefix))
    .toSorted((one, other) => other.length - one.length)[0];
  return maps.paths.get(place) ?? maps.prefixes.get(longest ?? "");
}

test("route maps: a host with one worker needs one entry", () => {
  const maps = layOutRoutes([{ pattern: "site.localhost/*", worker: worker("site") }]);
  expect([...maps.hosts]).toEqual([["site.localhost", worker("site")]]);
  expect([maps.parents, maps.paths, maps.prefixes].map((map) => map.size)).toEqual([0, 0, 0]);
});

test("route maps: paths of a less specific host are not found behind those of a more specific one", () => {
  const maps = layOutRoutes([
    { pattern: "*.localhost/images/*", worker: worker("below") },
    { pattern: "site.localhost/images*", worker: worker("site") },
  ]);
  expect(find(maps, "site.localhost", "/images/x")).toBe(worker("site"));
  expect(find(maps, "other.localhost", "/images/x")).toBe(worker("below"));
  expect(find(maps, "site.localhost", "/")).toBeUndefined();
});

test("route maps: a malformed pattern is refused", () => {
  expect(() => layOutRoutes([{ pattern: "a:80/*", worker: worker("a") }])).toThrow("port");
});

const host = fc.constantFrom("a.b.c", "b.c", "x.b.c", "y.x.b.c", "c", "other");
const pattern = fc
  .tuple(
    fc.constantFrom("", "http://", "https://"),
    fc.oneof(host, fc.constantFrom("*.b.c", "*b.c", "*.c", "*c", "*", "*.x.b.c")),
    fc.constantFrom("", "/", "/*", "/p", "/p*", "/p/*", "/p/q", "/p/q*", "/other/*"),
  )
  .map((parts) => parts.join(""));
const target = fc.constantFrom("/", "/p", "/p/", "/p/q", "/p/q/r", "/pq", "/other/", "/?a", "/p?a");

test("route maps: lead where the route table leads", () => {
  fc.assert(
    fc.property(fc.array(pattern, { maxLength: 8 }), host, target, (patterns, name, path) => {
      const routes = patterns.map((text, index) => ({
        pattern: text,
        worker: worker(String(index)),
      }));
      const expected = new RouteTable(routes).find({ scheme: "http", host: name, target: path });
      expect(find(layOutRoutes(routes), name, path)).toBe(expected);
    }),
    { numRuns: 2_000 },
  );
});
