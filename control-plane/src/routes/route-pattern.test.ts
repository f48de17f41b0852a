import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import {
  hostKey,
  hostsOverlap,
  normalizePattern,
  overlappingHosts,
  splitPattern,
} from "./route-pattern.ts";

test.each([
  ["example.com/*", "example.com/*"],
  ["example.com", "example.com/"],
  ["HTTPS://Example.COM/Path*", "example.com/Path*"],
  ["*.example.com/api/*", "*.example.com/api/*"],
  ["*example.com/*", "*example.com/*"],
  ["localhost/x", "localhost/x"],
])("route pattern: %s is kept as %s", (text, pattern) => {
  expect(normalizePattern(text)).toBe(pattern);
});

test.each([
  ["", "not a host name"],
  ["*/*", "not a host name"],
  ["a.*.com/*", "only as its first character"],
  ["example.com:8080/*", "no port"],
  ["exa mple.com/*", "not a host name"],
  ["-a.com/*", "not a host name"],
  ["a..com/*", "not a host name"],
  [`${"a".repeat(64)}.com/*`, "not a host name"],
  [`${"abc.".repeat(64)}com/*`, "at most 253"],
  ["example.com/a*b", "only as its last character"],
  ["example.com/?a=b", "no '?'"],
  ["example.com/a b", "no spaces"],
  [`example.com/${"a".repeat(LIMITS.routePatternCharactersMax)}`, "too long"],
])("route pattern: '%s' is refused: %s", (text, reason) => {
  expect(() => normalizePattern(text)).toThrow(reason);
});

test("route pattern: splits at the first slash", () => {
  expect(splitPattern("*.example.com/a/b*")).toEqual({ host: "*.example.com", path: "/a/b*" });
});

test.each([
  ["a.com", "a.com", true],
  ["a.com", "b.com", false],
  ["*.a.com", "x.a.com", true],
  ["*.a.com", "a.com", false],
  ["*a.com", "a.com", true],
  ["*a.com", "x.a.com", true],
  ["*a.com", "xa.com", false],
  ["*a.com", "*.a.com", true],
  ["*.x.a.com", "*.a.com", true],
  ["*.a.com", "*.b.com", false],
])("route pattern: %s and %s overlap: %s", (left, right, expected) => {
  expect(hostsOverlap(left, right)).toBe(expected);
  expect(hostsOverlap(right, left)).toBe(expected);
});

test("route pattern: among the hosts that overlap with one is every one that does", () => {
  const names = ["a.com", "b.com", "x.a.com", "y.x.a.com", "com", "xa.com", "a.com.x"];
  const all = names.flatMap((name) => [name, `*${name}`, `*.${name}`]);
  const isNear = (host: string, other: string): boolean => {
    const { hosts, below } = overlappingHosts(host);
    const isBelow = below !== undefined && hostKey(other).startsWith(`${hostKey(below)}.`);
    return hosts.includes(other) || isBelow;
  };
  const pairs = all.flatMap((host) => all.map((other) => [host, other] as const));
  const overlapping = pairs.filter((pair) => hostsOverlap(...pair));
  expect(overlapping.filter((pair) => !isNear(...pair))).toEqual([]);
});
