import { mkdir } from "node:fs/promises";
import { open, type Database, type RootDatabase } from "lmdb";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { encodeCursor, listRange } from "../cursor.ts";
import type { KvEntry, KvListing, KvOperation, KvPage, ListOptions } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { NamespaceId, Revision } from "../names.ts";
import { decodeEntry, decodeKey, decodeListing, encodeChange, expiryOf } from "../record-codec.ts";
import type { Replica, StoreAction } from "./replica.ts";

export interface LmdbReplicaOptions {
  /** Holds the environment's files, and nothing else. Created when missing. For one process. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is held of a namespace: its entries are under this slot's number, as of this revision. */
const Holding = z.object({ slot: z.number().int().positive(), revision: Revision });
type Holding = z.infer<typeof Holding>;

/**
 * A namespace as reads see it. A drop forgets the whole object: what was handed over before and is still
 * under way changes one that nobody looks at any more.
 */
interface Copy {
  /** What `#holdings` has, once committed: decides which slot is read. Absent before the first snapshot. */
  holding: Holding | undefined;
  /** The slot in which a snapshot is being collected, if any. */
  staging: number | undefined;
}

const SLOT_BYTES = 4;

/**
 * All of a node's replicas in one LMDB environment. A key is the slot's number and the key's UTF-8 bytes,
 * so a listing is a range. A namespace's slot is replaced as a whole by a snapshot: the new one is filled
 * while reads go on with the old one, and one transaction switches. Slots that nothing refers to, after a
 * switch, a removal or a crash, are emptied in the background.
 */
export class LmdbReplica implements Replica {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #entries: Database<Buffer, Buffer>;
  readonly #holdings: Database<unknown, string>;
  /** How many pages of a snapshot each slot has: one that was not stored must not go unnoticed. */
  readonly #pages: Database<unknown, number>;
  readonly #copies = new Map<NamespaceId, Copy>();
  readonly #stopReaderCheck: () => void;
  #lastSlot = 0;
  /** The emptying of slots, one after another. Never rejected. */
  #sweeping: Promise<void> = Promise.resolve();
  #isClosed = false;

  /** Fails with `storage_failed` when the files can't be used. */
  static async open(options: LmdbReplicaOptions): Promise<LmdbReplica> {
    try {
      await mkdir(options.directory, { recursive: true });
      return new LmdbReplica(options);
    } catch (cause) {
      throw storageError(`the replica in ${options.directory} can't be opened`, cause);
    }
  }

  private constructor(options: LmdbReplicaOptions) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#root = open({ path: options.directory, noSubdir: false, ...BINARY });
    this.#entries = this.#root.openDB({ name: "entries", ...BINARY });
    this.#holdings = this.#root.openDB({ name: "holdings", encoding: "json" });
    this.#pages = this.#root.openDB({ name: "pages", keyEncoding: "uint32", encoding: "json" });
    for (const { key, value } of this.#holdings.getRange()) {
      this.#copyOf(NamespaceId.parse(key)).holding = Holding.parse(value);
    }
    this.#sweepUnheld();
    // A reader that died with an open transaction would let the file grow without end.
    this.#stopReaderCheck = options.clock.every(LIMITS.readerCheckMs, () => {
      this.#root.readerCheck();
    });
  }

  held(): ReadonlyArray<NamespaceId> {
    const copies = [...this.#copies].filter(([, { holding }]) => holding !== undefined);
    return copies.map(([namespace]) => namespace);
  }

  revision(namespace: NamespaceId): Revision | undefined {
    return this.#copies.get(namespace)?.holding?.revision;
  }

  get(namespace: NamespaceId, key: string): KvEntry | undefined {
    const { slot } = this.#holding(namespace);
    const keyBytes = Buffer.from(key, "utf8");
    const change = this.#entries.getBinary(slotKey(slot, keyBytes));
    if (change === undefined || this.#isExpired(change)) return undefined;
    return decodeEntry(decodeKey(keyBytes), change);
  }

  list(namespace: NamespaceId, options: ListOptions): KvPage {
    const { slot } = this.#holding(namespace);
    const range = listRange(options);
    const entries: KvListing[] = [];
    let last: Buffer | undefined;
    let scanned = 0;
    const rows = this.#entries.getRange({
      start: slotKey(slot, range.start),
      end: slotKey(slot, range.end),
    });
    for (const { key, value } of rows) {
      // There is at least this row behind the page: whether it is live is the next page's business.
      const isFull = entries.length >= options.limit || scanned >= LIMITS.listScanRowsMax;
      if (isFull && last !== undefined) return { entries, cursor: encodeCursor(last) };
      last = key.subarray(SLOT_BYTES);
      scanned += 1;
      if (!this.#isExpired(value)) entries.push({ key: decodeKey(last), ...decodeListing(value) });
    }
    return { entries };
  }

  async store(namespace: NamespaceId, action: StoreAction): Promise<void> {
    if (this.#isClosed) throw new KvError("closed", "the replica is closed");
    try {
      await this.#storeAction(namespace, action);
    } catch (error) {
      throw error instanceof KvError ? error : storageError("a change can't be stored", error);
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopReaderCheck();
    await this.#sweeping;
    // Also waits for the transactions under way.
    await this.#root.close();
  }

  #storeAction(namespace: NamespaceId, action: StoreAction): Promise<void> | void {
    switch (action.kind) {
      case "batch":
        return this.#storeBatch(namespace, action);
      case "snapshot-start":
        return this.#startSnapshot(namespace);
      case "snapshot-page":
        return this.#storePage(namespace, action.operations);
      case "snapshot-end":
        return this.#endSnapshot(namespace, action);
      case "drop":
        return this.#drop(namespace);
    }
  }

  async #storeBatch(namespace: NamespaceId, batch: StoreAction & { kind: "batch" }): Promise<void> {
    const copy = this.#copyOf(namespace);
    const holding = await this.#transaction(() => {
      // Read inside the transaction: batches are handed over without waiting for those before.
      const stored = this.#stored(namespace);
      if (stored?.revision !== batch.after) {
        throw new KvError(
          "replica_behind",
          `a batch after ${batch.after} does not fit revision ${stored?.revision ?? "none"}`,
        );
      }
      this.#apply(stored.slot, batch.operations);
      const next = { slot: stored.slot, revision: batch.revision };
      void this.#holdings.put(namespace, next);
      return next;
    });
    this.#show(copy, holding);
  }

  #startSnapshot(namespace: NamespaceId): void {
    const copy = this.#copyOf(namespace);
    if (copy.staging !== undefined) this.#sweepSlot(copy.staging);
    this.#lastSlot += 1;
    copy.staging = this.#lastSlot;
  }

  async #storePage(namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): Promise<void> {
    const slot = this.#copyOf(namespace).staging;
    if (slot === undefined) throw new KvError("replica_behind", "no snapshot is being collected");
    await this.#transaction(() => {
      this.#apply(slot, operations);
      void this.#pages.put(slot, this.#pagesOf(slot) + 1);
    });
  }

  async #endSnapshot(
    namespace: NamespaceId,
    end: StoreAction & { kind: "snapshot-end" },
  ): Promise<void> {
    const copy = this.#copyOf(namespace);
    const slot = copy.staging;
    if (slot === undefined) throw new KvError("replica_behind", "no snapshot is being collected");
    copy.staging = undefined;
    const holding = { slot, revision: end.revision };
    const previous = await this.#transaction(() => {
      // Counted inside the transaction: the end is handed over before its pages are known to be stored.
      if (this.#pagesOf(slot) !== end.pages) {
        throw new KvError("replica_behind", `a snapshot of ${end.pages} pages is not complete`);
      }
      const replaced = this.#stored(namespace);
      void this.#pages.remove(slot);
      void this.#holdings.put(namespace, holding);
      return replaced;
    });
    this.#show(copy, holding);
    if (previous !== undefined) this.#sweepSlot(previous.slot);
  }

  async #drop(namespace: NamespaceId): Promise<void> {
    // Reads stop seeing it at once; the order of what is on disk is that of the calls.
    const staging = this.#copies.get(namespace)?.staging;
    this.#copies.delete(namespace);
    if (staging !== undefined) this.#sweepSlot(staging);
    const previous = await this.#transaction(() => {
      // Read inside the transaction: a snapshot that ends before it brings another slot.
      const removed = this.#stored(namespace);
      void this.#holdings.remove(namespace);
      return removed;
    });
    if (previous !== undefined) this.#sweepSlot(previous.slot);
  }

  /** Keeps all that the action writes, or nothing when it throws. Transactions go in the order of the calls. */
  #transaction<Result>(action: () => Result): Promise<Result> {
    // LMDB's plain `transaction` shares its commit with others, and keeps what was written before a throw.
    return this.#root.childTransaction(action);
  }

  /** What is held on disk. Part of the caller's transaction. */
  #stored(namespace: NamespaceId): Holding | undefined {
    return Holding.safeParse(this.#holdings.get(namespace)).data;
  }

  /** Part of the caller's transaction. */
  #apply(slot: number, operations: ReadonlyArray<KvOperation>): void {
    for (const operation of operations) {
      const key = slotKey(slot, Buffer.from(operation.key, "utf8"));
      // Inside a transaction both take effect at once; its promise is the one to wait for.
      if (operation.kind === "delete") void this.#entries.remove(key);
      else void this.#entries.put(key, encodeChange(operation));
    }
  }

  /** Part of the caller's transaction. */
  #pagesOf(slot: number): number {
    return z.number().catch(0).parse(this.#pages.get(slot));
  }

  /** Makes a committed change visible to reads. */
  #show(copy: Copy, holding: Holding): void {
    copy.holding = holding;
    // LMDB's reads share a view for a moment: without this the writer might not see its own write.
    this.#root.resetReadTxn();
  }

  #copyOf(namespace: NamespaceId): Copy {
    const known = this.#copies.get(namespace);
    if (known !== undefined) return known;
    const copy = { holding: undefined, staging: undefined };
    this.#copies.set(namespace, copy);
    return copy;
  }

  #holding(namespace: NamespaceId): Holding {
    if (this.#isClosed) throw new KvError("closed", "the replica is closed");
    const holding = this.#copies.get(namespace)?.holding;
    if (holding !== undefined) return holding;
    throw new KvError("replica_behind", `namespace ${namespace} has not arrived at this node yet`);
  }

  #isExpired(change: Buffer): boolean {
    const expiresAt = expiryOf(change);
    return expiresAt !== 0 && expiresAt * 1_000 <= this.#clock.nowMs();
  }

  /** Finds the slots that no namespace refers to, by leaping from each slot's first key to the next. */
  #sweepUnheld(): void {
    const used = new Set([...this.#copies.values()].flatMap(({ holding }) => holding?.slot ?? []));
    for (const slot of used) this.#lastSlot = Math.max(this.#lastSlot, slot);
    for (let slot = 0; ;) {
      const [key] = this.#entries.getKeys({ start: slotKey(slot + 1), limit: 1 });
      if (key === undefined) return;
      slot = key.readUInt32BE(0);
      this.#lastSlot = Math.max(this.#lastSlot, slot);
      if (!used.has(slot)) this.#sweepSlot(slot);
    }
  }

  #sweepSlot(slot: number): void {
    this.#sweeping = this.#sweeping
      .then(() => this.#emptySlot(slot))
      .catch((err: unknown) => {
        // What is left takes space and is never read; the next start sweeps it.
        this.#log.warn({ err, slot }, "a dropped replica could not be removed from disk");
      });
  }

  async #emptySlot(slot: number): Promise<void> {
    while (!this.#isClosed) {
      const range = { start: slotKey(slot), end: slotKey(slot + 1) };
      const keys = [...this.#entries.getKeys({ ...range, limit: LIMITS.replicaDropRowsMax })];
      await this.#transaction(() => {
        void this.#pages.remove(slot);
        for (const key of keys) void this.#entries.remove(key);
      });
      if (keys.length < LIMITS.replicaDropRowsMax) return;
    }
  }
}

// Keys and values are bytes as they are: LMDB then orders keys as UTF-8 orders them.
const BINARY = { keyEncoding: "binary", encoding: "binary" } as const;

function slotKey(slot: number, key: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.allocUnsafe(SLOT_BYTES + key.length);
  bytes.writeUInt32BE(slot, 0);
  key.copy(bytes, SLOT_BYTES);
  return bytes;
}

function storageError(what: string, cause: unknown): KvError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new KvError("storage_failed", `${what}: ${detail}`, { cause });
}
