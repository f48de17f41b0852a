import type { AssetManifest, BlobHash } from "@atoll/control-plane/contract";
import { expect, test } from "vitest";
import { checkAssetPaths } from "./asset-paths.ts";
import { SiteError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

const DEEPEST = "/n".repeat(LIMITS.pathNamesMax);
const LONGEST = `/${"n".repeat(127)}`.repeat(LIMITS.pathBytesMax / 128);
const FILE = { blob: "0".repeat(64) as BlobHash, size: 1 };

function manifestOf(...paths: ReadonlyArray<string>): AssetManifest {
  return Object.fromEntries(paths.map((path) => [path, FILE]));
}

function codeOf(manifest: AssetManifest): string | undefined {
  try {
    checkAssetPaths(manifest);
    return undefined;
  } catch (error) {
    if (error instanceof SiteError) return error.code;
    throw error;
  }
}

test.each([
  ["/index.html"],
  ["/.well-known/security.txt"],
  ["/grüße aus köln & 100%.txt"],
  ["/a?b#c:d*e.txt"],
  ["/..hidden/...dots"],
  ["/back\\slash"],
  [`/${"n".repeat(LIMITS.nameBytesMax)}`],
  [`/${"ü".repeat(Math.floor(LIMITS.nameBytesMax / 2))}`],
  [DEEPEST],
  [LONGEST],
])("asset paths: %j is a file's path", (path) => {
  expect(codeOf(manifestOf(path))).toBeUndefined();
});

test.each([
  [""],
  ["index.html"],
  ["/"],
  ["/a//b"],
  ["/a/"],
  ["/./a"],
  ["/a/.."],
  ["/../../etc/passwd"],
  ["/a\0.txt"],
  ["/\ud800.txt"],
  [`/${"n".repeat(LIMITS.nameBytesMax + 1)}`],
  [`/${"ü".repeat(Math.floor(LIMITS.nameBytesMax / 2) + 1)}`],
  [`${DEEPEST}/n`],
  [`${LONGEST}n`],
])("asset paths: %j is refused", (path) => {
  expect(codeOf(manifestOf("/fine.txt", path))).toBe("asset_path_invalid");
});

test("asset paths: a path that is a file and a directory is refused, in either order", () => {
  expect(codeOf(manifestOf("/docs", "/docs/index.html"))).toBe("asset_path_conflict");
  expect(codeOf(manifestOf("/docs/a/b.html", "/docs/a"))).toBe("asset_path_conflict");
});

test("asset paths: names that only begin alike are no conflict", () => {
  expect(codeOf(manifestOf("/docs", "/docs.html", "/docs2/index.html", "/Docs"))).toBeUndefined();
});

test("asset paths: the message names a hostile path without its control characters", () => {
  expect(() => checkAssetPaths(manifestOf("/a\u001b[31m/../b"))).toThrow(
    String.raw`the path "/a\u001b[31m/../b" contains the name '..'`,
  );
});

test("asset paths: one file more than the limit is refused", () => {
  const paths = Array.from({ length: LIMITS.filesMax }, (_, index) => `/${index}`);
  expect(codeOf(manifestOf(...paths))).toBeUndefined();
  expect(codeOf(manifestOf(...paths, "/more"))).toBe("asset_count_exceeded");
});
