import { mkdir } from "node:fs/promises";
import { open, type Database, type RootDatabase } from "lmdb";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { encodeCursor, listRange } from "../cursor.ts";
import {
  Key,
  type KvEntry,
  type KvListing,
  type KvOperation,
  type KvPage,
  type ListOptions,
} from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { NamespaceId, Revision } from "../names.ts";
import { decodeEntry, decodeKey, decodeListing, encodeChange, expiryOf } from "../record-codec.ts";
import type { Replica, SnapshotPosition, StoreAction } from "./replica.ts";

export interface LmdbReplicaOptions {
  /** Holds the environment's files, and nothing else. Created when missing. For one process. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
}

const Held = z.object({ slot: z.number().int().positive(), revision: Revision });
const Collected = Held.extend({ after: Key.nullable() });

/** A namespace on disk: the slots that its entries are under, and how far each is. */
const Stored = z.object({
  /** What is read. Absent before the first snapshot has ended. */
  held: Held.optional(),
  /** The snapshot that is being collected. */
  snapshot: Collected.optional(),
});
type Stored = z.infer<typeof Stored>;

/**
 * A namespace as reads see it: what was committed. A drop forgets the whole object, so what was handed over
 * before and is still under way changes one that nobody looks at any more.
 */
interface Copy {
  stored: Stored;
}

const SLOT_BYTES = 4;

/**
 * All of a node's replicas in one LMDB environment. A key is the slot's number and the key's UTF-8 bytes,
 * so a listing is a range. A namespace's slot is replaced as a whole by a snapshot: the new one is filled
 * while reads go on with the old one, and one transaction switches. Slots that nothing refers to any more are
 * emptied in the background. A snapshot that is cut short stays, to go on later.
 */
export class LmdbReplica implements Replica {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #entries: Database<Buffer, Buffer>;
  readonly #namespaces: Database<unknown, string>;
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
    this.#namespaces = this.#root.openDB({ name: "namespaces", encoding: "json" });
    for (const { key, value } of this.#namespaces.getRange()) {
      this.#copies.set(NamespaceId.parse(key), { stored: Stored.parse(value) });
    }
    this.#sweepUnheld();
    // A reader that died with an open transaction would let the file grow without end.
    this.#stopReaderCheck = options.clock.every(LIMITS.readerCheckMs, () => {
      this.#root.readerCheck();
    });
  }

  held(): ReadonlyArray<NamespaceId> {
    const copies = [...this.#copies].filter(([, { stored }]) => slotsOf(stored).length > 0);
    return copies.map(([namespace]) => namespace);
  }

  revision(namespace: NamespaceId): Revision | undefined {
    return this.#copies.get(namespace)?.stored.held?.revision;
  }

  snapshot(namespace: NamespaceId): SnapshotPosition | undefined {
    const snapshot = this.#copies.get(namespace)?.stored.snapshot;
    return snapshot && { revision: snapshot.revision, after: snapshot.after };
  }

  get(namespace: NamespaceId, key: string): KvEntry | undefined {
    const { slot } = this.#readable(namespace);
    const keyBytes = Buffer.from(key, "utf8");
    const change = this.#entries.getBinary(slotKey(slot, keyBytes));
    if (change === undefined || this.#isExpired(change)) return undefined;
    return decodeEntry(decodeKey(keyBytes), change);
  }

  list(namespace: NamespaceId, options: ListOptions): KvPage {
    const { slot } = this.#readable(namespace);
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

  async #storeAction(namespace: NamespaceId, action: StoreAction): Promise<void> {
    const copy = this.#copyOf(namespace);
    // Reads stop seeing it at once; the order of what is on disk is that of the calls.
    if (action.kind === "drop") this.#copies.delete(namespace);
    const { before, after } = await this.#transaction(() => {
      // Read inside the transaction: changes are handed over without waiting for those before.
      const stored = Stored.parse(this.#namespaces.get(namespace) ?? {});
      const next = this.#change(stored, action);
      if (slotsOf(next).length === 0) void this.#namespaces.remove(namespace);
      else void this.#namespaces.put(namespace, next);
      return { before: stored, after: next };
    });
    copy.stored = after;
    // LMDB's reads share a view for a moment: without this the writer might not see its own write.
    this.#root.resetReadTxn();
    const kept = slotsOf(after);
    for (const slot of slotsOf(before)) if (!kept.includes(slot)) this.#sweepSlot(slot);
  }

  /** Writes what the action brings, as a part of the caller's transaction, and returns what is stored then. */
  #change(stored: Stored, action: StoreAction): Stored {
    const { held, snapshot } = stored;
    switch (action.kind) {
      case "batch":
        return { held: this.#extend(held, action), snapshot };
      case "snapshot-start":
        this.#lastSlot += 1;
        return { held, snapshot: { slot: this.#lastSlot, revision: action.revision, after: null } };
      case "snapshot-page":
        return { held, snapshot: this.#collect(snapshot, action) };
      case "snapshot-batch":
        return { held, snapshot: this.#extend(snapshot, action) };
      case "snapshot-end":
        return { held: completed(snapshot, action) };
      case "drop":
        return {};
    }
  }

  #extend<Part extends z.infer<typeof Held>>(
    part: Part | undefined,
    batch: StoreAction & { kind: "batch" | "snapshot-batch" },
  ): Part {
    if (part?.revision !== batch.after) {
      throw misfit(`a batch after ${batch.after}`, `revision ${part?.revision ?? "none"}`);
    }
    this.#write(part.slot, batch.operations);
    return { ...part, revision: batch.revision };
  }

  #collect(
    snapshot: Stored["snapshot"],
    page: StoreAction & { kind: "snapshot-page" },
  ): Stored["snapshot"] {
    if (snapshot?.after !== page.after) {
      throw misfit(`a page behind ${page.after}`, `a snapshot up to ${snapshot?.after}`);
    }
    this.#write(snapshot.slot, page.operations);
    return { ...snapshot, after: page.through };
  }

  #write(slot: number, operations: ReadonlyArray<KvOperation>): void {
    for (const operation of operations) {
      const key = slotKey(slot, Buffer.from(operation.key, "utf8"));
      // Inside a transaction both take effect at once; its promise is the one to wait for.
      if (operation.kind === "delete") void this.#entries.remove(key);
      else void this.#entries.put(key, encodeChange(operation));
    }
  }

  /** Keeps all that the action writes, or nothing when it throws. Transactions go in the order of the calls. */
  #transaction<Result>(action: () => Result): Promise<Result> {
    // LMDB's plain `transaction` shares its commit with others, and keeps what was written before a throw.
    return this.#root.childTransaction(action);
  }

  #copyOf(namespace: NamespaceId): Copy {
    const known = this.#copies.get(namespace);
    if (known !== undefined) return known;
    const copy = { stored: {} };
    this.#copies.set(namespace, copy);
    return copy;
  }

  #readable(namespace: NamespaceId): z.infer<typeof Held> {
    if (this.#isClosed) throw new KvError("closed", "the replica is closed");
    const held = this.#copies.get(namespace)?.stored.held;
    if (held !== undefined) return held;
    throw new KvError("replica_behind", `namespace ${namespace} has not arrived at this node yet`);
  }

  #isExpired(change: Buffer): boolean {
    const expiresAt = expiryOf(change);
    return expiresAt !== 0 && expiresAt * 1_000 <= this.#clock.nowMs();
  }

  /** Finds the slots that no namespace refers to, by leaping from each slot's first key to the next. */
  #sweepUnheld(): void {
    const used = new Set([...this.#copies.values()].flatMap(({ stored }) => slotsOf(stored)));
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
        for (const key of keys) void this.#entries.remove(key);
      });
      if (keys.length < LIMITS.replicaDropRowsMax) return;
    }
  }
}

function slotsOf({ held, snapshot }: Stored): number[] {
  return [held, snapshot].flatMap((part) => part?.slot ?? []);
}

function completed(
  snapshot: Stored["snapshot"],
  { revision, through }: StoreAction & { kind: "snapshot-end" },
): z.infer<typeof Held> {
  if (snapshot?.revision === revision && snapshot.after === through) {
    return { slot: snapshot.slot, revision };
  }
  throw misfit(
    `the end of a snapshot at revision ${revision} and key ${through}`,
    `one at revision ${snapshot?.revision ?? "none"} and key ${snapshot?.after ?? "none"}`,
  );
}

function misfit(what: string, stored: string): KvError {
  return new KvError("replica_behind", `${what} does not fit ${stored}`);
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
