import { randomUUID } from "node:crypto";
import { constants, statSync } from "node:fs";
import { copyFile, link, mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { AssetManifest, BlobHash } from "@atoll/control-plane/contract";
import { checkAssetPaths } from "./asset-paths.ts";
import { contentTypeHeaders } from "./content-type-headers.ts";
import { contentTime } from "./content-time.ts";
import { SiteError } from "./errors.ts";
import { LIMITS } from "./limits.ts";

/** Where a blob's file is. */
export type BlobPath = (hash: BlobHash) => string;

/** What this package tells its log; a pino logger is one. */
export interface SiteLog {
  info(fields: object, message: string): void;
}

// A directory under such a name is not complete: it is being built or removed, or was when a process died.
const UNFINISHED_PREFIX = ".unfinished-";

/**
 * The static files of versions as directories, which workerd's `assets` service serves. A directory is
 * named by the hash of its manifest, so versions with the same files share it. Its files are hard links
 * to the blobs, or copies where the blobs are on another file system; either way nobody may write to
 * them. The root belongs to one instance.
 */
export class SiteDirectories {
  readonly #root: string;
  readonly #log: SiteLog;
  /** Directories being built, so that versions sharing one build it once, and `prune` leaves it alone. */
  readonly #underWay = new Map<string, Promise<string>>();

  constructor(options: { readonly root: string; readonly log: SiteLog }) {
    this.#root = options.root;
    this.#log = options.log;
  }

  /** The directory that holds the manifest's files, if it was made: then nobody needs their blobs. */
  async find(manifestHash: BlobHash): Promise<string | undefined> {
    const path = join(this.#root, manifestHash);
    return (await exists(path)) ? path : undefined;
  }

  /**
   * Resolves with the absolute path of the directory that holds the manifest's files, which it makes
   * unless it exists; it appears whole or not at all. The blobs must be on disk already. Rejected with
   * a `SiteError`: a path that is refused, or `asset_blob_unusable`.
   */
  async materialise(
    manifestHash: BlobHash,
    manifest: AssetManifest,
    blobPath: BlobPath,
  ): Promise<string> {
    const running = this.#underWay.get(manifestHash);
    if (running !== undefined) return running;
    const building = this.#makeMissing(manifestHash, manifest, blobPath).finally(() =>
      this.#underWay.delete(manifestHash),
    );
    this.#underWay.set(manifestHash, building);
    return building;
  }

  /** The `_headers` text to serve a manifest's files with, given the site's own. */
  headers(manifest: AssetManifest, own: string | undefined): string | undefined {
    return contentTypeHeaders(manifest, own);
  }

  /** Removes every directory whose manifest is not in `keep`, and what a dead process left unfinished. */
  async prune(keep: ReadonlySet<string>): Promise<void> {
    const names = await readdir(this.#root).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw error;
    });
    for (const name of names) {
      if (keep.has(name) || this.#underWay.has(manifestOf(name))) continue;
      await this.#remove(name);
      this.#log.info({ site: name }, "removed a site's directory");
    }
  }

  async #makeMissing(
    manifestHash: BlobHash,
    manifest: AssetManifest,
    blobPath: BlobPath,
  ): Promise<string> {
    const found = await this.find(manifestHash);
    if (found !== undefined) return found;
    checkAssetPaths(manifest);
    const path = join(this.#root, manifestHash);
    const unfinished = join(this.#root, unfinishedName(manifestHash));
    try {
      await placeFiles(unfinished, manifest, blobPath);
      await rename(unfinished, path);
    } catch (error) {
      await rm(unfinished, { recursive: true, force: true });
      throw error;
    }
    this.#log.info({ site: manifestHash, files: Object.keys(manifest).length }, "made a site");
    return path;
  }

  // Renamed first: a removal that is cut short must not leave half a directory under a finished name.
  async #remove(name: string): Promise<void> {
    const doomed = join(this.#root, unfinishedName(manifestOf(name)));
    await rename(join(this.#root, name), doomed);
    await rm(doomed, { recursive: true, force: true });
  }
}

function unfinishedName(manifestHash: string): string {
  return `${UNFINISHED_PREFIX}${manifestHash}-${randomUUID()}`;
}

/** The manifest's hash in the name of a finished or unfinished directory. */
function manifestOf(name: string): string {
  if (!name.startsWith(UNFINISHED_PREFIX)) return name;
  return name.slice(UNFINISHED_PREFIX.length).split("-")[0] ?? "";
}

async function placeFiles(
  directory: string,
  manifest: AssetManifest,
  blobPath: BlobPath,
): Promise<void> {
  const files = Object.entries(manifest);
  const directories = new Set(files.map(([path]) => dirname(join(directory, path))));
  await mkdir(directory, { recursive: true });
  for (const each of directories) await mkdir(each, { recursive: true });
  for (let start = 0; start < files.length; start += LIMITS.placedAtOnceMax) {
    const batch = files.slice(start, start + LIMITS.placedAtOnceMax);
    const placed = await Promise.allSettled(
      batch.map(([path, file]) =>
        placeFile({ target: join(directory, path), path, file, blobPath }),
      ),
    );
    // Only after all of the batch ended: the caller removes the directory that they write to.
    const failed = placed.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
}

interface Placement {
  readonly target: string;
  /** Path in the manifest, for messages. */
  readonly path: string;
  readonly file: AssetManifest[string];
  readonly blobPath: BlobPath;
}

async function placeFile({ target, path, file, blobPath }: Placement): Promise<void> {
  await linkOrCopy(blobPath(file.blob), target).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") {
      throw new SiteError("asset_blob_unusable", `no blob ${file.blob} for ${path}`, { cause });
    }
    if (cause.code !== "EEXIST") throw cause;
    // Distinct in the manifest, so this file system does not tell letter case or normal forms apart.
    throw new SiteError("asset_path_conflict", `${path} has the name of another file here`, {
      cause,
    });
  });
  // The kernel has at hand what it has just linked: a tenth of what it takes to hand this to another thread.
  const { size, mtimeMs } = statSync(target);
  if (size !== file.size) {
    throw new SiteError(
      "asset_blob_unusable",
      `blob ${file.blob} has ${size} bytes, and ${path} in the manifest ${file.size}`,
    );
  }
  const time = contentTime(file.blob);
  // Set already where another site has the same file.
  if (Math.abs(mtimeMs - time * 1_000) >= TIME_PRECISION_MS) await utimes(target, time, time);
}

// File systems keep nanoseconds, and a number of milliseconds somewhat less.
const TIME_PRECISION_MS = 0.001;

// Another file system (EXDEV), one without hard links (EPERM), or a blob with as many links as there can be.
const LINK_IMPOSSIBLE = new Set(["EXDEV", "EPERM", "EMLINK", "ENOTSUP"]);

async function linkOrCopy(source: string, target: string): Promise<void> {
  try {
    await link(source, target);
  } catch (error) {
    if (!LINK_IMPOSSIBLE.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
    await copyFile(source, target, constants.COPYFILE_EXCL);
  }
}

async function exists(path: string): Promise<boolean> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  return found !== undefined;
}
