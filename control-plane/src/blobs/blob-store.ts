import type { BlobHash } from "../contract/index.ts";
import type { HashedContent } from "./blob-hash.ts";

/**
 * Immutable content under its own SHA-256. What `put` resolved for stays readable until it is removed, also
 * after a power cut; content is verified against its hash when it is written and when it is read. Every call is
 * rejected with `blobs_unavailable`, and may be repeated, while what holds the blobs is full or can't be reached.
 */
export interface BlobStore {
  /**
   * Stores the content, whole or in pieces, of which one is in memory at a time. Rejected with `blob_mismatch`
   * when the content does not hash to `hash`, and with what the pieces throw; then nothing is stored.
   */
  put(hash: BlobHash, content: BlobContent): Promise<void>;
  /**
   * Stores many, several at a time: quicker than one after the other. A batch is asked for when nothing of the
   * one before is being written any more, so that they may share their memory; all of them are durable once it
   * resolves, and not before. What `admit` was not called with, or has not resolved for, is not stored yet.
   * Rejected as `put` is, and with what batches or `admit` throw, once none is being written any more; then some of
   * them may be stored.
   */
  putAll(batches: BlobBatches, admit?: Admission): Promise<void>;
  /** The content, or `undefined` when there is none. Rejected with `blob_corrupt` when it was damaged. */
  get(hash: BlobHash): Promise<Uint8Array | undefined>;
  /**
   * The content for whoever verifies it: whole where it has at most `LIMITS.blobWholeBytesMax`, else in pieces, which
   * the caller reads or cancels.
   */
  open(hash: BlobHash): Promise<OpenBlob | undefined>;
  /** Whether the content is there, without reading it. */
  has(hash: BlobHash): Promise<boolean>;
  /** Removes the content; nothing when there is none. What is being read is read to its end. */
  remove(hash: BlobHash): Promise<void>;
}

/** What is kept apart: code and files of workers, and large values of the key-value store. */
export type BlobArea = "blobs" | "kv-values";

/** No batch holds the same content twice. */
export type BlobBatches =
  | Iterable<ReadonlyArray<HashedContent>>
  | AsyncIterable<ReadonlyArray<HashedContent>>;

/** Called with hashes before their contents are stored: seldom, with as many as can be. */
export type Admission = (hashes: ReadonlyArray<BlobHash>) => Promise<void>;

export type BlobContent = Uint8Array | AsyncIterable<Uint8Array>;

export interface OpenBlob {
  readonly sizeBytes: number;
  readonly content: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;
}
