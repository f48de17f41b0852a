import {
  bulkResult,
  checkBulkSize,
  LIMITS as KV_LIMITS,
  type BulkGet,
  type Key,
  type KvEntry,
  type KvOperation,
  type KvOrigin,
  type KvPage,
  type KvValue,
  type ListOptions,
  type NamespaceId,
} from "@atoll/kv-store";
import { blobHashOf } from "../blobs/blob-hash.ts";
import type { BlobStore } from "../blobs/blob-store.ts";
import { BlobHash } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import type { EntryWrite } from "./entry-requests.ts";

/** A key's entry with its value at hand. */
export interface EntryContent {
  readonly entry: KvEntry;
  readonly value: Uint8Array;
}

/**
 * Keys and values of namespaces that were found to be the caller's. Reads and writes are the origin's
 * own: what was written is read back at once, and is on its way to every node that holds the namespace.
 */
export class EntriesService {
  readonly #origin: KvOrigin;
  readonly #blobs: Pick<BlobStore, "get" | "put">;

  constructor(parts: {
    readonly origin: KvOrigin;
    readonly blobs: Pick<BlobStore, "get" | "put">;
  }) {
    this.#origin = parts.origin;
    this.#blobs = parts.blobs;
  }

  /** The time by which entries expire, in milliseconds since the epoch. */
  nowMs(): number {
    return this.#origin.nowMs();
  }

  /** Resolves once all of it is on disk; a failure leaves every key as it was. */
  async put(namespace: NamespaceId, writes: ReadonlyArray<EntryWrite>): Promise<void> {
    const operations: KvOperation[] = [];
    // One after the other: each large value is synced to the disk, which is the same work at any order.
    for (const { key, value, metadata, expiresAt } of writes) {
      operations.push({
        kind: "put",
        key,
        value: await this.#storeValue(value),
        ...(metadata === undefined ? {} : { metadata }),
        ...(expiresAt === undefined ? {} : { expiresAt }),
      });
    }
    if (operations.length > 0) await this.#origin.write(namespace, operations);
  }

  /** Removes all the keys or none; those that don't exist count as removed. */
  async remove(namespace: NamespaceId, keys: ReadonlyArray<Key>): Promise<void> {
    const operations = keys.map((key): KvOperation => ({ kind: "delete", key }));
    if (operations.length > 0) await this.#origin.write(namespace, operations);
  }

  /** Rejected with `kv_key_not_found`. */
  async get(namespace: NamespaceId, key: Key): Promise<EntryContent> {
    const entry = await this.describe(namespace, key);
    return { entry, value: await this.#loadValue(entry) };
  }

  /** The entry without the content of a large value. Rejected with `kv_key_not_found`. */
  async describe(namespace: NamespaceId, key: Key): Promise<KvEntry> {
    const entry = await this.#origin.get(namespace, key);
    if (entry !== undefined) return entry;
    throw new ControlPlaneError("kv_key_not_found", `key not found: '${key}'`);
  }

  /** Values by key, as the binding's bulk read gives them; `null` for a key that doesn't exist. */
  async getMany(namespace: NamespaceId, bulk: BulkGet): Promise<Readonly<Record<string, unknown>>> {
    const entries = new Map<Key, KvEntry | undefined>();
    for (const key of bulk.keys) entries.set(key, await this.#origin.get(namespace, key));
    checkBulkSize(entries.values());
    const values: Array<readonly [string, unknown]> = [];
    for (const [key, entry] of entries) {
      values.push([key, entry === undefined ? null : await this.#present(bulk, entry)]);
    }
    // From pairs, because assigning to a key named `__proto__` would lose it.
    return Object.fromEntries(values);
  }

  /** The whole value of an entry. Rejected with `kv_unavailable` when the content of a large one is missing. */
  valueOf(entry: KvEntry): Promise<Uint8Array> {
    return this.#loadValue(entry);
  }

  list(namespace: NamespaceId, options: ListOptions): Promise<KvPage> {
    return this.#origin.list(namespace, options);
  }

  async #present(bulk: BulkGet, entry: KvEntry): Promise<unknown> {
    const value = await this.#loadValue(entry);
    const result = bulkResult(bulk, Buffer.from(value), entry.metadata);
    if (!bulk.withMetadata || entry.expiresAt === undefined) return result;
    return { ...(result as object), expiration: entry.expiresAt }; // with metadata it is an object
  }

  async #storeValue(content: Uint8Array<ArrayBuffer>): Promise<KvValue> {
    if (content.length <= KV_LIMITS.inlineValueBytesMax) return { kind: "inline", bytes: content };
    const hash = blobHashOf(content);
    await this.#blobs.put(hash, content);
    return { kind: "blob", hash, size: content.length };
  }

  async #loadValue({ key, value }: KvEntry): Promise<Uint8Array> {
    if (value.kind === "inline") return value.bytes;
    const content = await this.#blobs.get(BlobHash.parse(value.hash));
    if (content !== undefined) return content;
    throw new ControlPlaneError(
      "kv_unavailable",
      `The content ${value.hash} of the key '${key}' is not in the blob store`,
    );
  }
}
