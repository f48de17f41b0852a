import type { Clock } from "@atoll/kv-store";
import { blobHashOf, type HashedContent } from "../blobs/blob-hash.ts";
import type { BlobStore } from "../blobs/blob-store.ts";
import type { AssetManifest, BlobHash } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { AssetBatch } from "./asset-batch.ts";
import type { AssetContent } from "./schemas.ts";
import { AssetStore } from "./store.ts";

/** A file whose content is known to be what it is called. */
export interface CheckedAsset {
  readonly hash: string;
  readonly base64: string;
  /** Of the content. */
  readonly bytes: number;
  readonly contentType?: string;
}

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
  /** At most as many as calls at once: each call gives back the one that it took. */
  readonly #spareBatches: AssetBatch[] = [];

  constructor(parts: {
    readonly database: Database;
    readonly blobs: BlobStore;
    readonly clock: Clock;
  }) {
    this.#parts = parts;
  }

  /**
   * Stores the files of one call and makes them the account's: blobs before the rows that name them. Rejected with
   * what `files` throws as well; then none of them is the account's by this call.
   */
  async store(
    account: string,
    files: Iterable<CheckedAsset> | AsyncIterable<CheckedAsset>,
  ): Promise<void> {
    const batch = this.#spareBatches.pop() ?? new AssetBatch();
    const contents = new Map<string, AssetContent>();
    try {
      await this.#parts.blobs.putAll(decode(files, { batch, contents }));
      await this.add(account, [...contents.values()]);
    } finally {
      // Nothing of it is being written any more.
      batch.clear();
      this.#spareBatches.push(batch);
    }
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

/** Fills the batch again and again, and notes by their hashes what files it has held. */
async function* decode(
  files: Iterable<CheckedAsset> | AsyncIterable<CheckedAsset>,
  { batch, contents }: { readonly batch: AssetBatch; readonly contents: Map<string, AssetContent> },
): AsyncIterable<ReadonlyArray<HashedContent>> {
  for await (const { base64, bytes, ...asset } of files) {
    if (contents.has(asset.hash)) continue;
    if (!batch.hasRoomFor(bytes)) {
      yield batch.blobs;
      batch.clear();
    }
    const { hash: blob, content } = batch.add(base64, bytes);
    contents.set(asset.hash, { ...asset, blob, size: content.length });
  }
  yield batch.blobs;
}
