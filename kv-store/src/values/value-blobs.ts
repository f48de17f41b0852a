import type { ContentHash, Key } from "../entry.ts";
import type { NamespaceId } from "../names.ts";

/** The key whose value, which is a small one, is meant. */
export interface ValuePlace {
  readonly namespace: NamespaceId;
  readonly key: Key;
}

/** Content that is somewhere in the fleet. */
export interface ContentName {
  readonly hash: ContentHash;
  readonly size: number;
  /** Small values have no file of their own: they are found by the key that has them. */
  readonly place?: ValuePlace;
}

/** Where values live for the whole fleet; a node reaches it over the network. */
export interface ValueBlobs {
  /**
   * The content, in pieces. `undefined` when there is none, or when the key has another by now. What arrives
   * is verified by the caller. A rejection counts as retryable; so does an iteration that throws. One with
   * `value_gone` says as much as `undefined`, and as `found` the revision at which it was so.
   */
  fetch(
    content: Pick<ContentName, "hash" | "place">,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** Resolves once the content is durable under its hash. The file stays the caller's. */
  store(hash: ContentHash, file: ValueFile, signal: AbortSignal): Promise<void>;
}

/** Content on this machine's disk. */
export interface ValueFile {
  readonly path: string;
  readonly sizeBytes: number;
}
