import type { AssetManifest, BlobHash } from "@atoll/control-plane/contract";
import { expect, test } from "vitest";
import { contentTypeHeaders } from "./content-type-headers.ts";
import { LIMITS } from "./limits.ts";

function manifestOf(types: Readonly<Record<string, string>>): AssetManifest {
  const blob = "0".repeat(64) as BlobHash;
  const files = Object.entries(types).map(([path, contentType]) => [
    path,
    { blob, size: 1, contentType },
  ]);
  return Object.fromEntries(files) as AssetManifest;
}

const YAML = "text/yaml; charset=utf-8";

test("content type headers: files whose type workerd knows change nothing", () => {
  const manifest = manifestOf({
    "/index.html": "text/html; charset=utf-8",
    "/LOGO.PNG": "image/png",
  });
  expect(contentTypeHeaders(manifest, undefined)).toBeUndefined();
  expect(contentTypeHeaders(manifest, "/*\n  X-A: 1")).toBe("/*\n  X-A: 1");
});

test("content type headers: a file without a type gets no rule", () => {
  const manifest = { "/data.bin": { blob: "0".repeat(64) as BlobHash, size: 1 } };
  expect(contentTypeHeaders(manifest, undefined)).toBeUndefined();
});

test("content type headers: other files have rules of their own, before the site's", () => {
  const manifest = manifestOf({ "/a.yml": YAML, "/sub/ü b:c.yml": YAML });
  expect(contentTypeHeaders(manifest, "/*\n  X-A: 1\n")).toBe(
    `/a.yml\n  Content-Type: ${YAML}\n/sub/%C3%BC%20b%3Ac.yml\n  Content-Type: ${YAML}\n/*\n  X-A: 1\n`,
  );
});

test("content type headers: a rule that the site has for the file takes the type in", () => {
  const own = "# ours\n/a%2Eyml\n  X-A: 1\n";
  expect(contentTypeHeaders(manifestOf({ "/a.yml": YAML }), own)).toBe(
    `# ours\n/a%2Eyml\n  Content-Type: ${YAML}\n  X-A: 1\n`,
  );
});

test("content type headers: a rule for one host leaves the type to the others, too", () => {
  const own = "https://example.com/a.yml\n  X-A: 1\n";
  expect(contentTypeHeaders(manifestOf({ "/a.yml": YAML }), own)).toBe(
    `/a.yml\n  Content-Type: ${YAML}\n${own}`,
  );
});

test.each([["/*.yml"], ["/a.yml"], ["/:name"], ["https://example.com/*"]])(
  "content type headers: a type that the site itself gives by %s stays alone",
  (pattern) => {
    const own = `${pattern}\n  content-type: text/plain\n`;
    expect(contentTypeHeaders(manifestOf({ "/a.yml": YAML }), own)).toBe(own);
  },
);

test("content type headers: a star in a path has no rule, as it would match other paths", () => {
  expect(contentTypeHeaders(manifestOf({ "/a*.yml": YAML }), undefined)).toBeUndefined();
});

test("content type headers: as many files as rules have one each, one more falls back to extensions", () => {
  const own = "/one\n  X-A: 1\n";
  const pathsOf = (count: number) => Array.from({ length: count }, (_, index) => `/${index}.yml`);
  const rulesOf = (count: number) => {
    const types = Object.fromEntries(pathsOf(count).map((path) => [path, YAML]));
    return contentTypeHeaders(manifestOf(types), own)?.match(/^\//gm)?.length;
  };
  expect(rulesOf(LIMITS.headerRulesMax - 1)).toBe(LIMITS.headerRulesMax);
  expect(rulesOf(LIMITS.headerRulesMax)).toBe(2);
});

test("content type headers: an extension has a rule only where all of its files have one type", () => {
  const many = Array.from({ length: LIMITS.headerRulesMax }, (_, index) => [`/${index}.yml`, YAML]);
  const manifest = manifestOf({
    ...Object.fromEntries(many),
    "/one.log": "text/plain",
    "/two.log": "text/x-log",
    "/typed.vtt": "text/vtt",
    "/other.vtt": "text/vtt",
    "/last.srt": "application/x-subrip",
  });
  const own = "/typed.vtt\n  Content-Type: text/mine\n";
  expect(contentTypeHeaders(manifest, own)).toBe(
    `/*.yml\n  Content-Type: ${YAML}\n/*.srt\n  Content-Type: application/x-subrip\n${own}`,
  );
});
