import { setTimeout as wait } from "node:timers/promises";
import type { Clock } from "@atoll/kv-store";
import type { BlobHash } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { BlobBatches, BlobContent, BlobStore, OpenBlob } from "./blob-store.ts";
import { CodeBlobRows } from "./code-blob-rows.ts";

/** A blob store whose content is collected: whatever is stored is claimed first. See BLOBS.md. */
export class ClaimedBlobStore implements BlobStore {
  readonly #database: Database;
  readonly #blobs: BlobStore;
  readonly #clock: Clock;
  readonly #rows = new CodeBlobRows();

  constructor(parts: {
    readonly database: Database;
    readonly blobs: BlobStore;
    readonly clock: Clock;
  }) {
    this.#database = parts.database;
    this.#blobs = parts.blobs;
    this.#clock = parts.clock;
  }

  async put(hash: BlobHash, content: BlobContent): Promise<void> {
    await this.#claim([hash]);
    await this.#blobs.put(hash, content);
  }

  async putAll(batches: BlobBatches): Promise<void> {
    await this.#blobs.putAll(batches, (hashes) => this.#claim(hashes));
  }

  get(hash: BlobHash): Promise<Uint8Array | undefined> {
    return this.#blobs.get(hash);
  }

  open(hash: BlobHash): Promise<OpenBlob | undefined> {
    return this.#blobs.open(hash);
  }

  has(hash: BlobHash): Promise<boolean> {
    return this.#blobs.has(hash);
  }

  remove(hash: BlobHash): Promise<void> {
    return this.#blobs.remove(hash);
  }

  /** Waits for removals that are under way. */
  async #claim(hashes: Iterable<BlobHash>): Promise<void> {
    const sinceMs = this.#clock.monotonicMs();
    let left: Iterable<BlobHash> = hashes;
    for (;;) {
      const removedBefore = new Date(this.#clock.nowMs() - LIMITS.blobRemovalMs).toISOString();
      const leaving = await this.#rows.claim(this.#database, { hashes: left, removedBefore });
      const [first] = leaving;
      if (first === undefined) return;
      if (this.#clock.monotonicMs() - sinceMs >= LIMITS.blobClaimWaitMs) {
        throw new ControlPlaneError(
          "blobs_unavailable",
          `The blob ${first} is being removed, which takes long: try again in a minute`,
        );
      }
      left = leaving;
      await wait(LIMITS.blobClaimLookMs);
    }
  }
}
