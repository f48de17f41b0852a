import type { BlobHash } from "../contract/index.ts";

/**
 * Immutable content under its own SHA-256. What `put` resolved for stays readable, also after a power
 * cut; content is verified against its hash when it is written and when it is read.
 */
export interface BlobStore {
  /**
   * Stores the content unless it is there already. Rejected with `blob_mismatch` when the content does
   * not hash to `hash`, and then nothing is stored.
   */
  put(hash: BlobHash, content: Uint8Array): Promise<void>;
  /** The content, or `undefined` when there is none. Rejected with `blob_corrupt` when it was damaged. */
  get(hash: BlobHash): Promise<Uint8Array | undefined>;
  /** Whether the content is there, without reading it. */
  has(hash: BlobHash): Promise<boolean>;
}
