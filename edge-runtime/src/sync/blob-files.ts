import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { BlobHash } from "@atoll/control-plane/contract";
import { severalAtOnce, writeSynced } from "@atoll/kv-store";
import { LIMITS } from "../limits.ts";
import { syncDirectory } from "./durable-file.ts";

/** What names a blob: a module, a file of a manifest. */
export interface NamedBlob {
  readonly blob: BlobHash;
  /** In bytes; absent where who names it does not know. */
  readonly size?: number;
}

/** Content under the hash that it has. */
export interface BlobFile {
  readonly hash: BlobHash;
  readonly content: Uint8Array;
}

/**
 * Blobs as files `<first two digits>/<hash>` of one directory, which belongs to one instance. A file appears whole
 * or not at all, also after a power cut: it is written and synced beside its place, and renamed. Its name is on disk
 * after `sync`. No two calls of one instance may run at once but `read`.
 */
export class BlobFiles {
  readonly #directory: string;
  /** What ends the names of files that are being written; what a crash left has another one. */
  readonly #unfinished = `.${randomUUID()}.tmp`;
  /** Directories whose names are all on disk: others may have been written to before a crash. */
  readonly #synced = new Set<string>();

  /** The directory is made with the first file. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  path(hash: BlobHash): string {
    return join(this.#folderOf(hash), hash);
  }

  /** Those of which there is no file, or one of another size, which is damaged. Each once, in their order. */
  async missing(blobs: Iterable<NamedBlob>): Promise<ReadonlyArray<BlobHash>> {
    const sizes = new Map(Array.from(blobs, ({ blob, size }) => [blob, size]));
    const sound = new Set<BlobHash>();
    await severalAtOnce(sizes, LIMITS.blobFilesAtOnce, async ([blob, size]) => {
      const found = await sizeOf(this.path(blob));
      if (found !== undefined && found === (size ?? found)) sound.add(blob);
    });
    return [...sizes.keys()].filter((blob) => !sound.has(blob));
  }

  /** The content; `undefined` when there is none. */
  async read(hash: BlobHash): Promise<Uint8Array | undefined> {
    return readFile(this.path(hash)).catch(absentAs(undefined));
  }

  /** Puts all of them in their places. Rejected when one can't be, once none is being written any more. */
  async write(blobs: ReadonlyArray<BlobFile>): Promise<void> {
    const folders = new Set(blobs.map(({ hash }) => this.#folderOf(hash)));
    await severalAtOnce(folders, LIMITS.blobFilesAtOnce, (folder) => this.#prepare(folder));
    await severalAtOnce(blobs, LIMITS.blobFilesAtOnce, async ({ hash, content }) => {
      const path = this.path(hash);
      const unfinished = `${path}${this.#unfinished}`;
      try {
        await writeSynced(unfinished, content, 0o644);
        await rename(unfinished, path);
      } catch (error) {
        await rm(unfinished, { force: true });
        throw error;
      }
    });
  }

  /** Resolves when the names of these blobs, if they have files, are on disk. */
  async sync(hashes: Iterable<BlobHash>): Promise<void> {
    const folders = new Set(Array.from(hashes, (hash) => this.#folderOf(hash)));
    // The folders' own names are in the directory.
    for (const each of [folders, [this.#directory]]) {
      const unsynced = [...each].filter((path) => !this.#synced.has(path));
      await severalAtOnce(unsynced, LIMITS.blobFilesAtOnce, async (path) => {
        if (await syncUnlessAbsent(path)) this.#synced.add(path);
      });
    }
  }

  async remove(hash: BlobHash): Promise<void> {
    await rm(this.path(hash), { force: true });
  }

  /** Removes every file that is not named by a hash of `keep`. Resolves with how many were removed. */
  async prune(keep: ReadonlySet<string>): Promise<number> {
    let removed = 0;
    for (const folder of await listOrNothing(this.#directory)) {
      for (const name of await listOrNothing(join(this.#directory, folder))) {
        if (keep.has(name)) continue;
        await rm(join(this.#directory, folder, name), { force: true });
        removed += 1;
      }
    }
    return removed;
  }

  #folderOf(hash: BlobHash): string {
    return join(this.#directory, hash.slice(0, 2));
  }

  /** Makes the folder, if there is none, for names that are not on disk yet. */
  async #prepare(folder: string): Promise<void> {
    this.#synced.delete(folder);
    const made = await mkdir(folder, { recursive: true });
    if (made !== undefined) this.#synced.delete(this.#directory);
  }
}

/** Of a file; `undefined` when there is none. */
async function sizeOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(absentAs(undefined));
  return found?.isFile() === true ? found.size : undefined;
}

/** Whether there is such a directory. */
async function syncUnlessAbsent(path: string): Promise<boolean> {
  return syncDirectory(path).then(() => true, absentAs(false));
}

/** Names in a directory; none when it does not exist yet. */
async function listOrNothing(path: string): Promise<ReadonlyArray<string>> {
  return readdir(path).catch(absentAs([]));
}

/** What stands for something that is not there. */
function absentAs<Value>(value: Value): (error: NodeJS.ErrnoException) => Value {
  return (error) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return value;
    throw error;
  };
}
