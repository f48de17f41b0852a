import { HashedContent } from "../blobs/blob-hash.ts";
import { LIMITS } from "../limits.ts";
import { requireAnnounced, type AnnouncedAsset } from "./asset-checks.ts";
import type { AssetDecoder, EncodedAsset } from "./asset-decoder.ts";

/** A file as it is sent. */
export interface SentAsset {
  /** What the account has it as. */
  readonly hash: string;
  /** A view that holds until the next one is asked for. */
  readonly base64: Uint8Array;
  /** Absent when it is to be served without a type. */
  readonly contentType?: string;
  /** What it has to be; absent when that is only known later. */
  readonly announced?: AnnouncedAsset;
}

/** A file of which the content is known. */
export interface DecodedContent {
  readonly asset: Omit<SentAsset, "base64">;
  /** Holds until the batch is cleared. */
  readonly blob: HashedContent;
}

/**
 * Files that are written together. Their texts, and then their contents, lie side by side in one piece of memory that
 * is used again for the next ones: as thousands of buffers they would wait for the garbage collector, which is in no
 * hurry. It is lent to the thread that decodes them.
 */
export class AssetBatch {
  readonly #standing = Buffer.from(new SharedArrayBuffer(LIMITS.assetBatchBytesMax));
  /** The standing memory, or that of one file which is larger than it. */
  #memory: Buffer<SharedArrayBuffer> = this.#standing;
  #usedBytes = 0;
  readonly #assets: Array<Omit<SentAsset, "base64">> = [];
  readonly #texts: EncodedAsset[] = [];

  /** Whether a text of so many bytes fits; into an empty batch any does. */
  hasRoomFor(bytes: number): boolean {
    if (this.#assets.length === 0) return true;
    if (this.#assets.length >= LIMITS.assetBatchFilesMax) return false;
    return this.#usedBytes + bytes <= this.#memory.length;
  }

  /** Copies the text. */
  add({ base64, ...asset }: SentAsset): void {
    // One that is larger than all of it is alone.
    if (base64.length > this.#memory.length) {
      this.#memory = Buffer.from(new SharedArrayBuffer(base64.length));
    }
    const startByte = this.#usedBytes;
    this.#usedBytes += base64.length;
    this.#memory.set(base64, startByte);
    this.#assets.push(asset);
    this.#texts.push({ startByte, endByte: this.#usedBytes, path: asset.announced?.path });
  }

  /** What was added, decoded and checked: once, until it is cleared. Rejected with `asset_invalid`. */
  async decode(decoder: AssetDecoder): Promise<ReadonlyArray<DecodedContent>> {
    const memory = this.#memory;
    const decoded = await decoder.run({ memory: memory.buffer, assets: this.#texts });
    return this.#assets.map((asset, index) => {
      const { startByte = 0 } = this.#texts[index] ?? {};
      const { sizeBytes, blob, hash } = required(decoded[index]);
      if (asset.announced !== undefined) {
        requireAnnounced({ hash: asset.hash, sizeBytes, actualHash: hash }, asset.announced);
      }
      const content = memory.subarray(startByte, startByte + sizeBytes);
      return { asset, blob: HashedContent.madeElsewhere(content, blob) };
    });
  }

  clear(): void {
    this.#memory = this.#standing;
    this.#usedBytes = 0;
    this.#assets.length = 0;
    this.#texts.length = 0;
  }
}

function required<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error("the thread did not answer for each file");
  return value;
}
