import type { Clock } from "@atoll/kv-store";
import { blobHashOf, type HashedContent } from "../blobs/blob-hash.ts";
import type { BlobStore } from "../blobs/blob-store.ts";
import type { AssetManifest, BlobHash } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { AssetBatch, type SentAsset } from "./asset-batch.ts";
import type { AssetDecoder } from "./asset-decoder.ts";
import type { AssetContent } from "./schemas.ts";
import { AssetStore } from "./store.ts";

/** A file that is stored. */
export type StoredContent = AssetContent & { readonly blob: BlobHash };

/** Stores what accounts upload, and manifests of it. */
export class UploadedContents {
  readonly #parts: {
    readonly database: Database;
    readonly blobs: BlobStore;
    readonly decoder: AssetDecoder;
    readonly clock: Clock;
  };
  readonly #assets = new AssetStore();
  /** At most as many as calls at once: each call gives back the one that it took. */
  readonly #spareBatches: AssetBatch[] = [];

  constructor(parts: {
    readonly database: Database;
    readonly blobs: BlobStore;
    readonly decoder: AssetDecoder;
    readonly clock: Clock;
  }) {
    this.#parts = parts;
  }

  /**
   * Stores the files of one call and makes them the account's: blobs before the rows that name them. Rejected with
   * `asset_invalid` when one is not what was announced, and with what `files` throws; then none of them is the
   * account's by this call.
   */
  async store(
    account: string,
    files: Iterable<SentAsset> | AsyncIterable<SentAsset>,
  ): Promise<void> {
    const batch = this.#spareBatches.pop() ?? new AssetBatch();
    const contents = new Map<string, AssetContent>();
    const { decoder } = this.#parts;
    try {
      await this.#parts.blobs.putAll(decode(files, { batch, contents, decoder }));
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

  /**
   * Stores the manifest of files by path, and tells its hash. Files come in any order: wrangler's is the one in which
   * it was done with hashing them. The same files are the same manifest, and so the same directory on nodes.
   */
  async writeManifest(
    files: ReadonlyArray<readonly [path: string, StoredContent]>,
  ): Promise<BlobHash> {
    const manifest: AssetManifest = {};
    const sorted = files.toSorted(([one], [other]) => (one < other ? -1 : 1));
    for (const [path, { blob, size, contentType }] of sorted) {
      manifest[path] = { blob, size, ...(contentType === undefined ? {} : { contentType }) };
    }
    const content = Buffer.from(JSON.stringify(manifest));
    const hash = blobHashOf(content);
    await this.#parts.blobs.put(hash, content);
    return hash;
  }
}

interface Decoding {
  readonly batch: AssetBatch;
  readonly decoder: AssetDecoder;
  /** What was decoded, by the files' hashes. */
  readonly contents: Map<string, AssetContent>;
}

/** Fills the batch again and again. */
async function* decode(
  files: Iterable<SentAsset> | AsyncIterable<SentAsset>,
  decoding: Decoding,
): AsyncIterable<ReadonlyArray<HashedContent>> {
  const { batch, contents } = decoding;
  for await (const file of files) {
    if (contents.has(file.hash)) continue;
    if (!batch.hasRoomFor(file.base64.length)) {
      yield await decodeBatch(decoding);
      batch.clear();
    }
    batch.add(file);
  }
  yield await decodeBatch(decoding);
}

async function decodeBatch({
  batch,
  decoder,
  contents,
}: Decoding): Promise<ReadonlyArray<HashedContent>> {
  // Files under several paths, or names, may have the same content.
  const blobs = new Map<BlobHash, HashedContent>();
  for (const { asset, blob } of await batch.decode(decoder)) {
    const { hash, contentType } = asset;
    const type = contentType === undefined ? {} : { contentType };
    contents.set(hash, { hash, blob: blob.hash, size: blob.content.length, ...type });
    blobs.set(blob.hash, blob);
  }
  return [...blobs.values()];
}
