import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { AssetStore } from "../assets/store.ts";
import type { BlobHash } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { LIMITS } from "../limits.ts";
import type { BlobStore } from "./blob-store.ts";
import { CodeBlobRows, type CodeBlobRow } from "./code-blob-rows.ts";
import { readNamedBlobs, type NamedBlobs } from "./named-blobs.ts";

export interface BlobCollectorParts {
  readonly database: Database;
  readonly blobs: BlobStore;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What one look did. */
export interface Collection {
  /** Uploaded files that accounts no longer have. */
  readonly files: number;
  readonly blobs: number;
}

/** Removes blobs of code and files that nothing has named for a day. BLOBS.md says why nothing else leaves. */
export class BlobCollector {
  readonly #parts: BlobCollectorParts;
  readonly #rows = new CodeBlobRows();
  readonly #assets = new AssetStore();
  readonly #stop: () => void;
  #looking: Promise<void> | undefined;
  #isClosed = false;

  constructor(parts: BlobCollectorParts) {
    this.#parts = parts;
    this.#stop = parts.clock.every(LIMITS.blobLookMs, () => {
      this.#looking ??= this.#lookAlone().finally(() => (this.#looking = undefined));
    });
  }

  /** Looks once through everything. Rejected, with nothing more removed, when something can't be read. */
  async collect(): Promise<Collection> {
    const { database, blobs, clock } = this.#parts;
    const nowMs = clock.nowMs();
    const unnamedBefore = new Date(nowMs - LIMITS.blobUnnamedMs).toISOString();
    const named = await readNamedBlobs(database, blobs);
    const files = await this.#forgetFiles(named, unnamedBefore);
    await this.#rows.add(database, named.all);
    const removed = await this.#lookThrough(named, {
      now: new Date(nowMs).toISOString(),
      unnamedBefore,
    });
    return { files, blobs: removed };
  }

  /** Resolves when nothing is under way. May be called twice. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stop();
    await this.#looking;
  }

  /** Files that accounts uploaded, but that neither a version nor an upload has used of late. */
  async #forgetFiles(named: NamedBlobs, usedBefore: string): Promise<number> {
    const { database } = this.#parts;
    let forgotten = 0;
    for await (const some of this.#assets.idleContents(database, usedBefore)) {
      const unused = some.filter(
        ({ account, blob }) => named.files.get(account)?.has(blob) !== true,
      );
      for (const { account, hash } of unused) {
        if (await this.#assets.removeIdle(database, { account, hash, usedBefore })) forgotten += 1;
      }
      if (this.#isClosed) break;
    }
    return forgotten;
  }

  async #lookThrough(
    named: NamedBlobs,
    times: { readonly now: string; readonly unnamedBefore: string },
  ): Promise<number> {
    const { database } = this.#parts;
    let removed = 0;
    let after = "";
    while (!this.#isClosed) {
      const rows = await this.#rows.page(database, after);
      const last = rows.at(-1);
      if (last === undefined) break;
      after = last.hash;
      const uploaded = await this.#assets.blobsAmong(
        database,
        rows.map(({ hash }) => hash),
      );
      const isNamed = ({ hash }: CodeBlobRow): boolean => named.all.has(hash) || uploaded.has(hash);
      const unnamed = rows.filter((row) => !isNamed(row));
      await this.#rows.markNamed(database, hashesOf(rows.filter(isMarked).filter(isNamed)));
      await this.#rows.markUnnamed(
        database,
        hashesOf(unnamed.filter((row) => !isMarked(row))),
        times.now,
      );
      for (const { hash, unnamedAt } of unnamed) {
        if (unnamedAt === null || unnamedAt > times.unnamedBefore) continue;
        if (await this.#remove(hash, times.unnamedBefore)) removed += 1;
      }
    }
    return removed;
  }

  /**
   * From the first statement to the last nobody can claim it: who wants to store it again waits. When the removal
   * fails, its content may still go, so that lasts for `LIMITS.blobRemovalMs`.
   */
  async #remove(hash: BlobHash, unnamedBefore: string): Promise<boolean> {
    const { database, blobs, clock } = this.#parts;
    const nowMs = clock.nowMs();
    const removal = {
      ...{ hash, unnamedBefore, removingAt: new Date(nowMs).toISOString() },
      removedBefore: new Date(nowMs - LIMITS.blobRemovalMs).toISOString(),
    };
    if (!(await this.#rows.beginRemoval(database, removal))) return false;
    await blobs.remove(hash);
    await this.#rows.endRemoval(database, removal);
    return true;
  }

  async #lookAlone(): Promise<void> {
    const { log } = this.#parts;
    try {
      const collection = await this.collect();
      if (collection.blobs + collection.files > 0) {
        log.info(collection, "removed blobs that nothing named");
      }
    } catch (err) {
      // The next look is due in a day, and until then everything stays.
      log.error({ err }, "could not look for blobs that nothing names");
    }
  }
}

function isMarked({ unnamedAt }: CodeBlobRow): boolean {
  return unnamedAt !== null;
}

function hashesOf(rows: ReadonlyArray<CodeBlobRow>): ReadonlyArray<BlobHash> {
  return rows.map(({ hash }) => hash);
}
