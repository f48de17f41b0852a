import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { ContentHash, type KvValue } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { TransferSlots } from "./transfer-slots.ts";
import type { ValueBlobs, ValueFile } from "./value-blobs.ts";

export interface ValueCacheOptions {
  /** Holds the values' files, and nothing else. Created when missing. For one process. */
  readonly directory: string;
  readonly blobs: ValueBlobs;
  /** Bytes on disk; `LIMITS.valueCacheBytesMax` when absent. */
  readonly bytesMax?: number;
  readonly log: Log;
}

export type BlobValue = KvValue & { kind: "blob" };

/**
 * The large values that a node has used lately, one file each, named by the hash of its content. Content
 * never changes under a hash, so there is nothing to invalidate: the least recently used file goes first.
 */
export class ValueCache {
  readonly #directory: string;
  /** Files that are being written; emptied at the start. */
  readonly #incoming: string;
  readonly #blobs: ValueBlobs;
  readonly #bytesMax: number;
  readonly #log: Log;
  /** Sizes of the cached files, the least recently used first. */
  readonly #files = new Map<ContentHash, number>();
  /** Sum of `#files`. */
  #bytes = 0;
  /** Fetches under way, so that many readers of one value cause one. */
  readonly #fetches = new Map<ContentHash, Promise<void>>();
  readonly #slots = new TransferSlots(LIMITS.valueTransfersMax);
  readonly #closing = new AbortController();

  /** Fails with `storage_failed` when the directory can't be used. */
  static async open(options: ValueCacheOptions): Promise<ValueCache> {
    const cache = new ValueCache(options);
    try {
      await cache.#load();
    } catch (cause) {
      const text = `the values in ${options.directory} can't be used: ${String(cause)}`;
      throw new KvError("storage_failed", text, { cause });
    }
    return cache;
  }

  private constructor(options: ValueCacheOptions) {
    this.#directory = options.directory;
    this.#incoming = join(options.directory, "incoming");
    this.#blobs = options.blobs;
    this.#bytesMax = options.bytesMax ?? LIMITS.valueCacheBytesMax;
    this.#log = options.log;
  }

  /**
   * An open file with the value's content, fetched and verified if it is not here. The caller closes it.
   * Rejected with `value_unavailable`.
   */
  async openValue(value: BlobValue): Promise<FileHandle> {
    const cached = await this.#openCached(value.hash);
    if (cached !== undefined) return cached;
    await this.#fetchOnce(value);
    const fetched = await this.#openCached(value.hash);
    if (fetched !== undefined) return fetched;
    throw unavailable(value.hash, "it left this node's disk as soon as it came");
  }

  /** The whole content of a value; rejected as `openValue` is. */
  async readValue(value: BlobValue): Promise<Buffer> {
    const file = await this.openValue(value);
    try {
      return await file.readFile();
    } finally {
      await file.close();
    }
  }

  /** A path for content that is being received. Whoever writes there passes it to `keep` or removes it. */
  incomingPath(): string {
    return join(this.#incoming, randomUUID());
  }

  /**
   * Stores received content for the whole fleet, then keeps the file as this node's copy. Rejected with
   * `value_unavailable` when it could not be stored; the file is removed either way.
   */
  async keep(hash: ContentHash, file: ValueFile): Promise<void> {
    try {
      await this.#slots.run(() => this.#blobs.store(hash, file, this.#transferSignal()));
      await this.#adopt(hash, file);
    } catch (cause) {
      throw unavailable(hash, `it could not be stored: ${String(cause)}`, cause);
    } finally {
      await rm(file.path, { force: true });
    }
  }

  /** Ends the transfers under way. May be called twice. */
  async close(): Promise<void> {
    this.#closing.abort(new KvError("closed", "the node is stopping"));
    await Promise.allSettled(this.#fetches.values());
  }

  async #load(): Promise<void> {
    await rm(this.#incoming, { recursive: true, force: true });
    await mkdir(this.#incoming, { recursive: true });
    const found: Array<{ hash: ContentHash; sizeBytes: number; usedMs: number }> = [];
    for (const name of await readdir(this.#directory)) {
      const hash = ContentHash.safeParse(name);
      if (!hash.success) continue;
      const { size, atimeMs, mtimeMs } = await stat(join(this.#directory, name));
      found.push({ hash: hash.data, sizeBytes: size, usedMs: Math.max(atimeMs, mtimeMs) });
    }
    for (const file of found.toSorted((a, b) => a.usedMs - b.usedMs)) {
      this.#files.set(file.hash, file.sizeBytes);
      this.#bytes += file.sizeBytes;
    }
    await this.#evict();
  }

  async #openCached(hash: ContentHash): Promise<FileHandle | undefined> {
    const sizeBytes = this.#files.get(hash);
    if (sizeBytes === undefined) return undefined;
    try {
      const file = await open(this.#pathOf(hash));
      // Last in the map: used most recently. Not when it was evicted meanwhile; the open file stays good.
      if (this.#files.delete(hash)) this.#files.set(hash, sizeBytes);
      return file;
    } catch (err) {
      // Removed by other hands, or unreadable: a copy is only a copy, the fleet has the value.
      this.#log.warn({ err, hash }, "a cached value could not be opened");
      if (this.#files.delete(hash)) this.#bytes -= sizeBytes;
      return undefined;
    }
  }

  #fetchOnce(value: BlobValue): Promise<void> {
    const { hash } = value;
    const running = this.#fetches.get(hash);
    if (running !== undefined) return running;
    const fetch = this.#slots
      .run(() => this.#fetch(value))
      .finally(() => this.#fetches.delete(hash));
    this.#fetches.set(hash, fetch);
    return fetch;
  }

  async #fetch({ hash, size }: BlobValue): Promise<void> {
    const path = this.incomingPath();
    try {
      const content = await this.#blobs.fetch(hash, this.#transferSignal());
      if (content === undefined) throw new Error("the fleet does not have it");
      await writeVerified(path, content, { hash, sizeBytes: size });
      await this.#adopt(hash, { path, sizeBytes: size });
    } catch (cause) {
      throw unavailable(hash, String(cause), cause);
    } finally {
      await rm(path, { force: true });
    }
  }

  /** Moves a complete, verified file to its place. */
  async #adopt(hash: ContentHash, file: ValueFile): Promise<void> {
    await rename(file.path, this.#pathOf(hash));
    this.#bytes += file.sizeBytes - (this.#files.get(hash) ?? 0);
    this.#files.delete(hash);
    this.#files.set(hash, file.sizeBytes);
    await this.#evict();
  }

  async #evict(): Promise<void> {
    for (const [hash, sizeBytes] of this.#files) {
      // The newest one stays even if it is larger than the bound: somebody is about to read it.
      if (this.#bytes <= this.#bytesMax || this.#files.size === 1) return;
      this.#files.delete(hash);
      this.#bytes -= sizeBytes;
      await rm(this.#pathOf(hash), { force: true });
    }
  }

  #transferSignal(): AbortSignal {
    return AbortSignal.any([this.#closing.signal, AbortSignal.timeout(LIMITS.valueTransferMs)]);
  }

  #pathOf(hash: ContentHash): string {
    return join(this.#directory, hash);
  }
}

async function writeVerified(
  path: string,
  content: AsyncIterable<Uint8Array>,
  expected: { readonly hash: ContentHash; readonly sizeBytes: number },
): Promise<void> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  const file = await open(path, "wx");
  try {
    for await (const piece of content) {
      sizeBytes += piece.length;
      if (sizeBytes > expected.sizeBytes) throw new Error(`over ${expected.sizeBytes} bytes came`);
      hash.update(piece);
      await file.writeFile(piece);
    }
  } finally {
    await file.close();
  }
  const actual = hash.digest("hex");
  if (actual !== expected.hash || sizeBytes !== expected.sizeBytes) {
    throw new Error(`${sizeBytes} bytes with hash ${actual} came`);
  }
}

function unavailable(hash: ContentHash, why: string, cause?: unknown): KvError {
  return new KvError("value_unavailable", `large value ${hash} is unavailable: ${why}`, { cause });
}
