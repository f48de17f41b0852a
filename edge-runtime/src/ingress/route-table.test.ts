import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { WorkerKey } from "@atoll/control-plane/contract";
import { EdgeError } from "../errors.ts";
import { parseRoutePattern } from "./route-pattern.ts";
import { RouteTable } from "./route-table.ts";

function key(name: string): WorkerKey {
  return `${"0".repeat(32)}/${name}`;
}

/** A table where each pattern leads to a worker of its own, and the pattern that a URL leads to. */
function tableOf(...patterns: string[]): (url: string) => string | undefined {
  const table = new RouteTable(
    patterns.map((pattern, index) => ({ pattern, worker: key(`w${index}`) })),
  );
  return (url) => {
    const [, scheme, host = "", target] = /^(https?):\/\/([^/?]+)(.*)$/.exec(url) ?? [];
    const worker = table.find({
      scheme: scheme as "http" | "https",
      host,
      target: target === "" ? "/" : (target ?? "/"),
    });
    return worker === undefined ? undefined : patterns[Number(worker.split("/w")[1])];
  };
}

describe("route table: the pattern that a URL leads to", () => {
  test.each([
    ["example.com/*", "http://example.com/", true],
    ["example.com/*", "http://example.com/a/b?c=d", true],
    ["example.com/*", "http://www.example.com/", false],
    ["EXAMPLE.com/*", "http://example.com/", true],
    ["example.com", "http://example.com/", true],
    ["example.com", "https://example.com/", true],
    ["example.com", "http://example.com/a", false],
    ["example.com", "http://example.com/?a=b", false],
    ["example.com/images/*", "http://example.com/images/cat.png", true],
    ["example.com/images/*", "http://example.com/images", false],
    ["example.com/images*", "http://example.com/images", true],
    ["example.com/images*", "http://example.com/images2", true],
    ["example.com/Images/*", "http://example.com/images/cat.png", false],
    ["example.com/cat.png", "http://example.com/cat.png?v=1", false],
    ["*.example.com/*", "http://www.example.com/", true],
    ["*.example.com/*", "http://a.b.example.com/", true],
    ["*.example.com/*", "http://example.com/", false],
    ["*.example.com/*", "http://notexample.com/", false],
    ["*example.com/*", "http://example.com/", true],
    ["*example.com/*", "http://www.example.com/", true],
    ["*example.com/*", "http://notexample.com/", false],
    ["*/*", "http://anything.test/at/all", true],
    ["https://example.com/*", "http://example.com/", false],
    ["https://example.com/*", "https://example.com/", true],
    ["my_worker.localhost/*", "http://my_worker.localhost/", true],
    // The worker's own URL parser resolves these, so routing must too.
    ["example.com/admin/*", "http://example.com/public/../admin/x", true],
    ["example.com/admin/*", "http://example.com/public/%2e%2e/admin/x", true],
    ["example.com/admin/*", "http://example.com/public\\..\\..\\admin\\x", true],
  ])("%s and %s: %s", (pattern, url, matches) => {
    expect(tableOf(pattern)(url)).toBe(matches ? pattern : undefined);
  });

  test("the most specific one of several wins, in whatever order they are given", () => {
    const patterns = [
      "*/*",
      "*example.com/*",
      "*.example.com/*",
      "www.example.com/*",
      "www.example.com/hello/*",
      "www.example.com/hello/world",
      "https://www.example.com/hello/*",
    ];
    const expected = new Map([
      ["http://other.test/", "*/*"],
      ["http://example.com/", "*example.com/*"],
      ["http://api.example.com/", "*.example.com/*"],
      ["http://www.example.com/", "www.example.com/*"],
      ["http://www.example.com/hello/you", "www.example.com/hello/*"],
      ["https://www.example.com/hello/you", "https://www.example.com/hello/*"],
      ["http://www.example.com/hello/world", "www.example.com/hello/world"],
      ["http://www.example.com/hello/world?x", "www.example.com/hello/*"],
    ]);
    fc.assert(
      fc.property(fc.shuffledSubarray(patterns, { minLength: patterns.length }), (shuffled) => {
        const find = tableOf(...shuffled);
        for (const [url, pattern] of expected) expect([url, find(url)]).toEqual([url, pattern]);
      }),
    );
  });

  test("a host without a matching path falls back to a wildcard that has one", () => {
    const find = tableOf("www.example.com/only", "*.example.com/*");
    expect(find("http://www.example.com/other")).toBe("*.example.com/*");
  });

  test("agrees with a straightforward reading of the rules for any patterns and URL", () => {
    const label = fc.constantFrom("a", "b", "com");
    const host = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join("."));
    const path = fc
      .array(fc.constantFrom("/", "a", "b"), { maxLength: 4 })
      .map((p) => `/${p.join("")}`);
    const pattern = fc
      .tuple(
        fc.constantFrom("", "http://", "https://"),
        fc.constantFrom("", "*", "*."),
        host,
        path,
        fc.boolean(),
      )
      .map(([scheme, star, name, at, open]) => `${scheme}${star}${name}${at}${open ? "*" : ""}`);
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 8 }), host, path, (patterns, name, at) => {
        const unique = [...new Set(patterns)];
        const found = tableOf(...unique)(`http://${name}${at}`);
        const candidates = unique.filter((one) => matchesPlainly(one, name, at));
        expect(candidates.length === 0 ? [undefined] : candidates).toContain(found);
      }),
      { numRuns: 500 },
    );
  });
});

function matchesPlainly(pattern: string, host: string, path: string): boolean {
  const { scheme, hostKind, host: name, pathKind, path: at } = parseRoutePattern(pattern);
  const isBelow = host.endsWith(`.${name}`);
  const isHost = {
    exact: host === name,
    subdomains: isBelow,
    "self-and-subdomains": isBelow || host === name,
    every: true,
  }[hostKind];
  return scheme !== "https" && isHost && (pathKind === "exact" ? path === at : path.startsWith(at));
}

describe("route pattern: refuses", () => {
  test.each([
    ["example.com:8080/*", "port"],
    ["example.com/*.jpg", "'*' inside its path"],
    ["example.com/a*b*", "'*' inside its path"],
    ["www.*.com/*", "'*' inside its host"],
    ["**.example.com/*", "'*' inside its host"],
    ["example.com/?foo=*", "query"],
    ["example.com/#top", "fragment"],
    ["ftp://example.com/*", "port"],
    ["/path", "host"],
    ["", "host"],
    ["exa mple.com/*", "host"],
    ["-example.com/*", "host"],
    ["example..com/*", "host"],
    [`${"a".repeat(64)}.com/*`, "host"],
    ["example.com/ü", "percent-encoded"],
    [`example.com/${"a".repeat(1_100)}`, "longer than"],
  ])("%s", (pattern, rule) => {
    const parse = (): unknown => parseRoutePattern(pattern);
    expect(parse).toThrow(EdgeError);
    expect(parse).toThrow(rule);
  });

  test("any text that is no pattern with route_invalid, and never otherwise", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        expect([undefined, "route_invalid"]).toContain(codeOfParsing(text));
      }),
    );
  });
});

function codeOfParsing(pattern: string): string | undefined {
  try {
    parseRoutePattern(pattern);
    return undefined;
  } catch (error) {
    return error instanceof EdgeError ? error.code : "not an error of ours";
  }
}
