import type { ContentHash } from "../entry.ts";

/** Where large values live for the whole fleet; a node reaches it over the network. */
export interface ValueBlobs {
  /**
   * The content, in pieces. `undefined` when there is none. What arrives is verified by the caller. A
   * rejection counts as retryable; so does an iteration that throws.
   */
  fetch(hash: ContentHash, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** Resolves once the content is durable under its hash. The file stays the caller's. */
  store(hash: ContentHash, file: ValueFile, signal: AbortSignal): Promise<void>;
}

/** Content on this machine's disk. */
export interface ValueFile {
  readonly path: string;
  readonly sizeBytes: number;
}
