import { createHash } from "node:crypto";
import type { Key, KvOrigin, NamespaceId, Revision } from "@atoll/kv-store";
import type { BlobContent, BlobStore, OpenBlob } from "../blobs/blob-store.ts";
import type { BlobHash } from "../contract/index.ts";

/**
 * The contents of the key-value store by their hash: large values in a blob store of their own, which the
 * origin collects when nothing names them, so no worker's code may be in it; small ones where their keys are.
 */
export class ValueStore implements Omit<BlobStore, "putAll"> {
  readonly #origin: KvOrigin;
  readonly #blobs: BlobStore;
  /** Where an earlier version put large values, beside everything else. Nothing of it is removed. */
  readonly #earlier: BlobStore;

  constructor(parts: {
    readonly origin: KvOrigin;
    readonly blobs: BlobStore;
    readonly earlier: BlobStore;
  }) {
    this.#origin = parts.origin;
    this.#blobs = parts.blobs;
    this.#earlier = parts.earlier;
  }

  async put(hash: BlobHash, content: BlobContent): Promise<void> {
    // First: what is there already may be about to be collected.
    await this.#origin.claimValue(hash);
    await this.#blobs.put(hash, content);
  }

  async get(hash: BlobHash): Promise<Uint8Array | undefined> {
    return (await this.#blobs.get(hash)) ?? this.#earlier.get(hash);
  }

  async open(hash: BlobHash): Promise<OpenBlob | undefined> {
    return (await this.#blobs.open(hash)) ?? this.#earlier.open(hash);
  }

  async has(hash: BlobHash): Promise<boolean> {
    return (await this.#blobs.has(hash)) || this.#earlier.has(hash);
  }

  remove(hash: BlobHash): Promise<void> {
    return this.#blobs.remove(hash);
  }

  /** Where a namespace's history stands. Rejected as the origin's reads are. */
  async revision(namespace: NamespaceId): Promise<Revision> {
    return (await this.#origin.point(namespace)).revision;
  }

  /** The value of a key, if it is this content. Rejected as the origin's reads are. */
  async valueOf(
    { namespace, key }: { readonly namespace: NamespaceId; readonly key: Key },
    hash: BlobHash,
  ): Promise<Uint8Array | undefined> {
    const value = (await this.#origin.get(namespace, key))?.value;
    if (value?.kind !== "inline") return undefined;
    const isIt = createHash("sha256").update(value.bytes).digest("hex") === hash;
    return isIt ? value.bytes : undefined;
  }
}
