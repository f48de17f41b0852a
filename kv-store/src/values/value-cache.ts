import { createHash, hash, randomUUID } from "node:crypto";
import type { BigIntStats } from "node:fs";
import {
  mkdir,
  open,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
  type FileHandle,
} from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { ContentHash } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { Slots } from "../slots.ts";
import { SharedFetches } from "./shared-fetches.ts";
import type { ContentName, ValueBlobs, ValueFile } from "./value-blobs.ts";
import { readVerified, writeVerified } from "./verified-content.ts";

export interface ValueCacheOptions {
  /** Holds the values' files, and nothing else. Created when missing. For one process. */
  readonly directory: string;
  readonly blobs: ValueBlobs;
  /** Bytes on disk; `LIMITS.valueCacheBytesMax` when absent. */
  readonly bytesMax?: number;
  readonly clock: Clock;
  readonly log: Log;
}

// Read at once while hashing: each piece holds up the event loop for less than a millisecond.
const HASHED_BYTES = 256 * 1024;

interface CachedFile {
  readonly sizeBytes: number;
  /** The state of the file in which its content was found to be right, and when; absent before that. */
  proof?: { readonly state: string; readonly provenMs: number };
}

// What a file takes at least: small values are counted as what they take.
const BLOCK_BYTES = 4_096;

/**
 * The values that a node has used lately and does not have in its replica, the large ones and those of partial
 * namespaces, one file each, named by the hash of its content. Content
 * never changes under a hash, so there is nothing to invalidate: the least recently used file goes first.
 *
 * A disk is not to be trusted with it. Each file's size is looked at whenever it is opened. Its content is
 * read and hashed before the first use since the process started, after anybody touched the file, and once
 * a day: that delays such a read's first byte by dozens of milliseconds for the largest value, and costs the
 * others nothing. Hashing in each answer's stream instead would cost every read, and could only cut off the
 * one who asked. A file that is damaged is replaced from the fleet, and its reader notices nothing.
 */
export class ValueCache {
  readonly #directory: string;
  /** Files that are being written; emptied at the start. */
  readonly #incoming: string;
  readonly #blobs: ValueBlobs;
  readonly #bytesMax: number;
  readonly #clock: Clock;
  readonly #log: Log;
  /** The cached files, the least recently used first. */
  readonly #files = new Map<ContentHash, CachedFile>();
  /** What the files in `#files` take. */
  #bytes = 0;
  /** Files being hashed, by hash and state, so that many readers of one value cause one pass. */
  readonly #checks = new Map<string, Promise<ContentHash>>();
  readonly #fetches = new SharedFetches<void>();
  readonly #smallFetches = new SharedFetches<Buffer>();
  /** Fetched values could be written to the disk when it was last tried. */
  #isKeeping = true;
  readonly #slots = new Slots(LIMITS.valueTransfersMax);
  /** Of their own, so that a large value never holds up small ones. */
  readonly #smallSlots = new Slots(LIMITS.smallValueFetchesMax);
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
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /**
   * An open file with the value's content, fetched and verified if it is not here. The caller closes it.
   * Rejected with `value_gone` when the fleet does not have it any more, else with `value_unavailable`.
   */
  async openValue(value: ContentName): Promise<FileHandle> {
    const cached = await this.#openCached(value);
    if (cached !== undefined) return cached;
    await this.#fetches.join(value, () => this.#slots.run(() => this.#fetch(value)));
    const fetched = await this.#openCached(value);
    if (fetched !== undefined) return fetched;
    throw unavailable(value.hash, "it left this node's disk as soon as it came");
  }

  /**
   * The whole content of a value; rejected as `openValue` is. A small one is had also where this node's disk
   * does not take it.
   */
  async readValue(value: ContentName): Promise<Buffer> {
    const cached = value.place === undefined ? undefined : await this.#openCached(value);
    if (value.place !== undefined && cached === undefined) return this.#fetchSmallOnce(value);
    const file = cached ?? (await this.openValue(value));
    try {
      return await file.readFile();
    } finally {
      await file.close();
    }
  }

  /** The content of a small value, without keeping it here; rejected as `openValue` is. */
  async passValue(value: ContentName): Promise<Buffer> {
    return this.#files.has(value.hash) ? this.readValue(value) : this.#fetchSmall(value);
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
      await this.#slots.run(() =>
        this.#blobs.store(hash, file, this.#transferSignal(LIMITS.valueTransferMs)),
      );
      await this.#adopt(hash, file);
    } catch (cause) {
      throw unavailable(hash, `it could not be stored: ${String(cause)}`, cause);
    } finally {
      await rm(file.path, { force: true });
    }
  }

  /**
   * Keeps a small value that was written here, as one that was fetched: whoever wrote it is likely to read it, also
   * while the fleet is away. Never rejected.
   */
  async keepWritten(content: Uint8Array): Promise<void> {
    await this.#keepSmall(hash("sha256", content), content);
  }

  /** Ends the transfers under way. May be called twice. */
  async close(): Promise<void> {
    this.#closing.abort(new KvError("closed", "the node is stopping"));
    await Promise.allSettled([
      this.#fetches.idle(),
      this.#smallFetches.idle(),
      ...this.#checks.values(),
    ]);
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
      this.#files.set(file.hash, { sizeBytes: file.sizeBytes });
      this.#bytes += spaceOf(file.sizeBytes);
    }
    await this.#evict();
  }

  async #openCached(value: ContentName): Promise<FileHandle | undefined> {
    const { hash } = value;
    const cached = this.#files.get(hash);
    if (cached === undefined) return undefined;
    const file = await this.#openSound(value, cached).catch((err: unknown) => {
      // Removed by other hands, damaged, or unreadable: a copy is only a copy, the fleet has the value.
      this.#log.warn({ err, hash }, "a cached value can't be used");
    });
    // Neither when it was evicted meanwhile; an open file stays good.
    if (this.#files.get(hash) === cached) {
      this.#files.delete(hash);
      // Last in the map: used most recently.
      if (file !== undefined) this.#files.set(hash, cached);
      else this.#bytes -= spaceOf(cached.sizeBytes);
    }
    return file ?? undefined;
  }

  /** Opens a file whose content is known to be right; rejected when it is not. */
  async #openSound(value: ContentName, cached: CachedFile): Promise<FileHandle> {
    const file = await open(this.#pathOf(value.hash));
    try {
      const stats = await file.stat({ bigint: true });
      if (Number(stats.size) !== value.size) {
        throw new Error(`it has ${stats.size} bytes, not ${value.size}`);
      }
      const state = stateOf(stats);
      if (!this.#isProven(cached, state)) await this.#prove(file, { value, cached, state });
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  #isProven({ proof }: CachedFile, state: string): boolean {
    if (proof?.state !== state) return false;
    return this.#clock.monotonicMs() - proof.provenMs < LIMITS.valueProofMs;
  }

  async #prove(
    file: FileHandle,
    { value, cached, state }: { value: ContentName; cached: CachedFile; state: string },
  ): Promise<void> {
    const provenMs = this.#clock.monotonicMs();
    const name = `${value.hash} ${state}`;
    const check =
      this.#checks.get(name) ??
      this.#slots.run(() => hashOf(file)).finally(() => this.#checks.delete(name));
    this.#checks.set(name, check);
    const hash = await check;
    if (hash !== value.hash) throw new Error(`its content has the hash ${hash}`);
    cached.proof = { state, provenMs };
  }

  async #fetchSmallOnce(value: ContentName): Promise<Buffer> {
    let isOwn = false;
    const content = await this.#smallFetches.join(value, () => {
      isOwn = true;
      return this.#fetchSmall(value);
    });
    if (isOwn) await this.#keepSmall(value.hash, content);
    return content;
  }

  async #fetchSmall(value: ContentName): Promise<Buffer> {
    const { hash, size } = value;
    // Counted from here on: others may take all of their time before its turn comes.
    const signal = this.#transferSignal(LIMITS.smallValueFetchMs);
    try {
      return await this.#smallSlots.run(async () => {
        signal.throwIfAborted();
        return readVerified(await this.#contentOf(value, signal), { hash, sizeBytes: size });
      });
    } catch (cause) {
      throw cause instanceof KvError ? cause : unavailable(hash, String(cause), cause);
    }
  }

  /** Never rejected: whoever asked has the content, and the next one fetches it again. */
  async #keepSmall(hash: ContentHash, content: Uint8Array): Promise<void> {
    const path = this.incomingPath();
    try {
      await writeFile(path, content);
      await this.#adopt(hash, { path, sizeBytes: content.length });
      this.#isKeeping = true;
    } catch (err) {
      // A full disk stays so for a while, which is said once.
      if (this.#isKeeping) this.#log.warn({ err }, "fetched values can't be kept on this disk");
      this.#isKeeping = false;
      await rm(path, { force: true });
    }
  }

  async #fetch(value: ContentName): Promise<void> {
    const { hash, size } = value;
    const path = this.incomingPath();
    try {
      // What lies there is damaged, or a fetch would not be needed.
      await rm(this.#pathOf(hash), { force: true });
      const signal = this.#transferSignal(LIMITS.valueTransferMs);
      const content = await this.#contentOf(value, signal);
      await writeVerified(path, content, { hash, sizeBytes: size });
      await this.#adopt(hash, { path, sizeBytes: size });
    } catch (cause) {
      throw cause instanceof KvError ? cause : unavailable(hash, String(cause), cause);
    } finally {
      await rm(path, { force: true });
    }
  }

  async #contentOf(
    { hash, place }: ContentName,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const named = { hash, ...(place === undefined ? {} : { place }) };
    const content = await this.#blobs.fetch(named, signal);
    if (content !== undefined) return content;
    throw new KvError("value_gone", `the fleet does not have the value ${hash} any more`);
  }

  /** Moves a complete, verified file to its place. */
  async #adopt(hash: ContentHash, file: ValueFile): Promise<void> {
    await rename(file.path, this.#pathOf(hash));
    const stats = await stat(this.#pathOf(hash), { bigint: true });
    const proof = { state: stateOf(stats), provenMs: this.#clock.monotonicMs() };
    const replaced = this.#files.get(hash);
    this.#bytes +=
      spaceOf(file.sizeBytes) - (replaced === undefined ? 0 : spaceOf(replaced.sizeBytes));
    this.#files.delete(hash);
    this.#files.set(hash, { sizeBytes: file.sizeBytes, proof });
    await this.#evict();
  }

  async #evict(): Promise<void> {
    for (const [hash, { sizeBytes }] of this.#files) {
      // The newest one stays even if it is larger than the bound: somebody is about to read it.
      if (this.#bytes <= this.#bytesMax || this.#files.size === 1) return;
      this.#files.delete(hash);
      this.#bytes -= spaceOf(sizeBytes);
      await rm(this.#pathOf(hash), { force: true });
    }
  }

  #transferSignal(timeMs: number): AbortSignal {
    return AbortSignal.any([this.#closing.signal, AbortSignal.timeout(timeMs)]);
  }

  #pathOf(hash: ContentHash): string {
    return join(this.#directory, hash);
  }
}

function spaceOf(sizeBytes: number): number {
  return Math.max(BLOCK_BYTES, sizeBytes);
}

/** Differs from before once anybody has written to the file or put another in its place. */
function stateOf({ ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [ino, size, mtimeNs, ctimeNs].join(" ");
}

/** The hash of an open file's content. Leaves it open, to be read from its beginning. */
async function hashOf(file: FileHandle): Promise<ContentHash> {
  const hash = createHash("sha256");
  const content = file.createReadStream({
    start: 0,
    autoClose: false,
    highWaterMark: HASHED_BYTES,
  });
  for await (const piece of content) hash.update(piece as Buffer); // no encoding is set
  return hash.digest("hex");
}

function unavailable(hash: ContentHash, why: string, cause?: unknown): KvError {
  return new KvError("value_unavailable", `value ${hash} is unavailable: ${why}`, { cause });
}
