import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { BlobHash } from "@atoll/control-plane/contract";
import { EdgeError } from "../errors.ts";
import { writeDurably } from "./durable-file.ts";

/** Fetches a blob's content from the control plane. */
export type FetchBlob = (hash: BlobHash) => Promise<Uint8Array>;

/**
 * The node's own copies of the blobs that its workers name: files called by their SHA-256. A blob that
 * is here stays readable without the control plane. Content is checked against its hash when it
 * arrives; readers get plain files, which sites are hard-linked from.
 */
export class BlobCache {
  readonly #directory: string;
  readonly #fetchBlob: FetchBlob;
  /** Fetches under way, so that workers sharing a blob fetch it once. */
  readonly #underWay = new Map<BlobHash, Promise<void>>();

  constructor(options: { readonly directory: string; readonly fetchBlob: FetchBlob }) {
    this.#directory = options.directory;
    this.#fetchBlob = options.fetchBlob;
  }

  /** Where the blob is or will be. */
  path(hash: BlobHash): string {
    return join(this.#directory, hash.slice(0, 2), hash);
  }

  /** Resolves when the blob is on this node's disk. Rejected with `blob_unavailable` when it can't be. */
  async ensure(hash: BlobHash): Promise<void> {
    const running = this.#underWay.get(hash);
    if (running !== undefined) return running;
    const fetching = this.#fetchMissing(hash).finally(() => this.#underWay.delete(hash));
    this.#underWay.set(hash, fetching);
    return fetching;
  }

  /** Content of a blob, fetched first when it is not here. */
  async read(hash: BlobHash): Promise<Uint8Array> {
    await this.ensure(hash);
    return readFile(this.path(hash));
  }

  /** Removes every blob that is not in `keep`. Resolves with how many were removed. */
  async prune(keep: ReadonlySet<string>): Promise<number> {
    let removed = 0;
    for (const shard of await listOrNothing(this.#directory)) {
      for (const name of await listOrNothing(join(this.#directory, shard))) {
        if (keep.has(name) || this.#underWay.has(name as BlobHash)) continue;
        await rm(join(this.#directory, shard, name), { force: true });
        removed += 1;
      }
    }
    return removed;
  }

  async #fetchMissing(hash: BlobHash): Promise<void> {
    const path = this.path(hash);
    if (await isFile(path)) return;
    const content = await this.#fetchBlob(hash).catch((cause: unknown) => {
      throw new EdgeError("blob_unavailable", `blob ${hash} could not be fetched`, { cause });
    });
    const actual = createHash("sha256").update(content).digest("hex");
    if (actual !== hash) {
      throw new EdgeError(
        "blob_unavailable",
        `blob ${hash} arrived as ${actual}: damaged on its way`,
      );
    }
    await mkdir(join(path, ".."), { recursive: true });
    await writeDurably(path, content);
  }
}

async function isFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ?? false;
}

/** Names in a directory; none when it does not exist yet. */
async function listOrNothing(path: string): Promise<ReadonlyArray<string>> {
  return readdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
    throw error;
  });
}
