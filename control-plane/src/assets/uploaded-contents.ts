import type { Clock } from "@atoll/kv-store";
import { blobHashOf } from "../blobs/blob-hash.ts";
import type { BlobStore } from "../blobs/blob-store.ts";
import type { AssetManifest, BlobHash } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import type { AssetBatch } from "./asset-batch.ts";
import type { AssetContent } from "./schemas.ts";
import { AssetStore } from "./store.ts";

/** A file that is stored. */
export type StoredContent = AssetContent & { readonly blob: BlobHash };

/** Stores what accounts upload, and manifests of it. */
export class UploadedContents {
  readonly #parts: {
    readonly database: Database;
    readonly blobs: BlobStore;
    readonly clock: Clock;
  };
  readonly #assets = new AssetStore();

  constructor(parts: {
    readonly database: Database;
    readonly blobs: BlobStore;
    readonly clock: Clock;
  }) {
    this.#parts = parts;
  }

  /** Blobs before the rows that name them. Leaves the batch empty. */
  async store(account: string, batch: AssetBatch): Promise<void> {
    const { blobs, contents } = batch;
    if (contents.length === 0) return;
    await this.#parts.blobs.putAll(blobs);
    await this.add(account, contents);
    batch.clear();
  }

  /** Makes contents whose blobs are stored an account's. */
  async add(account: string, contents: ReadonlyArray<AssetContent>): Promise<void> {
    const usedAt = new Date(this.#parts.clock.nowMs()).toISOString();
    await this.#parts.database
      .transaction()
      .execute((transaction) =>
        this.#assets.insertContents(transaction, account, { contents, usedAt }),
      );
  }

  /** Stores the manifest of files by path, and tells its hash. */
  async writeManifest(files: Iterable<readonly [path: string, StoredContent]>): Promise<BlobHash> {
    const manifest: AssetManifest = {};
    for (const [path, { blob, size, contentType }] of files) {
      manifest[path] = { blob, size, ...(contentType === undefined ? {} : { contentType }) };
    }
    const content = Buffer.from(JSON.stringify(manifest));
    const hash = blobHashOf(content);
    await this.#parts.blobs.put(hash, content);
    return hash;
  }
}
