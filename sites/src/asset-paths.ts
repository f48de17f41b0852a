import type { AssetManifest } from "@atoll/control-plane/contract";
import { SiteError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

/**
 * Checks that every path of a manifest names one file below a directory, whatever that directory is,
 * and that no two of them need the same name. Paths are what wrangler sends: `/` first, raw UTF-8,
 * case-sensitive. Throws `asset_path_invalid`, `asset_path_conflict` or `asset_count_exceeded`.
 */
export function checkAssetPaths(manifest: AssetManifest): void {
  const paths = Object.keys(manifest);
  if (paths.length > LIMITS.filesMax) {
    throw new SiteError(
      "asset_count_exceeded",
      `a site of ${paths.length} files: at most ${LIMITS.filesMax} are possible`,
    );
  }
  for (const path of paths) checkAssetPath(path);
  // A path is in conflict with another when one of its directories is that other path.
  for (const path of paths) {
    for (let slash = path.indexOf("/", 1); slash !== -1; slash = path.indexOf("/", slash + 1)) {
      const directory = path.slice(0, slash);
      if (Object.hasOwn(manifest, directory)) {
        throw new SiteError(
          "asset_path_conflict",
          `${JSON.stringify(directory)} is a file, and the directory of ${JSON.stringify(path)}`,
        );
      }
    }
  }
}

function checkAssetPath(path: string): void {
  const problem = findProblem(path);
  if (problem === undefined) return;
  // Quoted, so that control characters reach no log as they are; cut, because it may be megabytes.
  throw new SiteError(
    "asset_path_invalid",
    `the path ${JSON.stringify(path.slice(0, 200))} ${problem}`,
  );
}

function findProblem(path: string): string | undefined {
  if (!path.startsWith("/")) return "does not start with '/'";
  if (path.includes("\0")) return "contains a NUL character";
  // A lone surrogate has no UTF-8 form: two different ones would become the same file.
  if (!path.isWellFormed()) return "is not well-formed Unicode";
  if (Buffer.byteLength(path) > LIMITS.pathBytesMax) {
    return `is longer than ${LIMITS.pathBytesMax} bytes`;
  }
  const names = path.slice(1).split("/");
  if (names.length > LIMITS.pathNamesMax) return `has more than ${LIMITS.pathNamesMax} names`;
  for (const name of names) {
    if (name === "") return "contains an empty name";
    if (name === "." || name === "..") return `contains the name '${name}'`;
    if (Buffer.byteLength(name) > LIMITS.nameBytesMax) {
      return `contains a name longer than ${LIMITS.nameBytesMax} bytes`;
    }
  }
  return undefined;
}
