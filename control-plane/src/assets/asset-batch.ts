import { blobHashOf } from "../blobs/blob-hash.ts";
import type { BlobHash } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import type { AssetContent } from "./schemas.ts";

/**
 * Files that are stored together. Their contents lie side by side in one piece of memory that is used again for the
 * next ones: as thousands of buffers they would wait for the garbage collector, which is in no hurry.
 */
export class AssetBatch {
  readonly blobs = new Map<BlobHash, Uint8Array>();
  readonly contents: AssetContent[] = [];
  readonly #memory = Buffer.allocUnsafe(LIMITS.assetBatchBytesMax);
  #usedBytes = 0;

  /** Whether one more fits; into an empty batch any does. */
  hasRoomFor(bytes: number): boolean {
    if (this.contents.length === 0) return true;
    if (this.contents.length >= LIMITS.assetBatchFilesMax) return false;
    return this.#usedBytes + bytes <= LIMITS.assetBatchBytesMax;
  }

  /** The bytes of a text, of which there are so many; they hold until `clear`. */
  decode(base64: string, bytes: number): Buffer {
    // One that is larger than all of it is alone, in memory of its own.
    if (bytes > this.#memory.length) return Buffer.from(base64, "base64");
    const written = this.#memory.write(base64, this.#usedBytes, bytes, "base64");
    return this.#memory.subarray(this.#usedBytes, this.#usedBytes + written);
  }

  /** Adds one that was decoded last. */
  add(asset: {
    readonly hash: string;
    readonly content: Uint8Array;
    readonly contentType?: string;
  }): void {
    const { hash, content, ...type } = asset;
    const blob = blobHashOf(content);
    this.blobs.set(blob, content);
    this.contents.push({ hash, blob, size: content.length, ...type });
    this.#usedBytes += content.length;
  }

  clear(): void {
    this.blobs.clear();
    this.contents.length = 0;
    this.#usedBytes = 0;
  }
}
