import { HashedContent } from "../blobs/blob-hash.ts";
import type { BlobHash } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";

/**
 * Files that are written together. Their contents lie side by side in one piece of memory that is used again for
 * the next ones: as thousands of buffers they would wait for the garbage collector, which is in no hurry.
 */
export class AssetBatch {
  readonly #blobs = new Map<BlobHash, HashedContent>();
  readonly #memory = Buffer.allocUnsafe(LIMITS.assetBatchBytesMax);
  #usedBytes = 0;

  /** They hold until `clear`. */
  get blobs(): ReadonlyArray<HashedContent> {
    return [...this.#blobs.values()];
  }

  /** Whether one more fits; into an empty batch any does. */
  hasRoomFor(bytes: number): boolean {
    if (this.#blobs.size === 0) return true;
    if (this.#blobs.size >= LIMITS.assetBatchFilesMax) return false;
    return this.#usedBytes + bytes <= LIMITS.assetBatchBytesMax;
  }

  /** Adds a file by its text, of at most so many bytes when it is decoded. */
  add(base64: string, bytesMax: number): HashedContent {
    const hashed = new HashedContent(this.#decode(base64, bytesMax));
    const known = this.#blobs.get(hashed.hash);
    if (known !== undefined) return known;
    this.#blobs.set(hashed.hash, hashed);
    this.#usedBytes += hashed.content.length;
    return hashed;
  }

  clear(): void {
    this.#blobs.clear();
    this.#usedBytes = 0;
  }

  #decode(base64: string, bytesMax: number): Buffer {
    // One that is larger than all of it is alone, in memory of its own.
    if (bytesMax > this.#memory.length) return Buffer.from(base64, "base64");
    const written = this.#memory.write(base64, this.#usedBytes, bytesMax, "base64");
    return this.#memory.subarray(this.#usedBytes, this.#usedBytes + written);
  }
}
