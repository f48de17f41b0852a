import { crc32 } from "node:zlib";
import type { Database } from "lmdb";
import type { KeyRange } from "../cursor.ts";
import type { HeldOperation, Key } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Revision } from "../names.ts";
import { decodeEntry, encodeChange, joinOperation } from "../record-codec.ts";
import { ENTRY_DIGEST_BYTES, entryDigest } from "../state-digest.ts";
import { withoutValue, withValue } from "./partial-entry.ts";
import type { ReadView } from "./read-view.ts";

// A record is the digest of the entry, its revision (f64), the change of `record-codec.ts`, and a CRC-32 of the
// key and of all of it. The CRC is what every read can afford; with the digest, replacing an entry and checking
// it need no hash.
const REVISION_BYTES = 8;
const HEAD_BYTES = ENTRY_DIGEST_BYTES + REVISION_BYTES;
const CHECKSUM_BYTES = 4;
export const SLOT_BYTES = 4;

// What CRC-32 makes of anything that is followed by its own CRC, lowest byte first: so a read needs no view
// of the record without it, which would cost it more than the CRC.
const CHECKSUM_RESIDUE = 0x2144df1c;

/** Operations with the revision of each. */
export interface Changes {
  readonly operations: ReadonlyArray<HeldOperation>;
  readonly revisions: ReadonlyArray<number>;
}

/** Told of each record that comes into a slot or leaves it. It begins with the entry's digest. */
export interface EntryListener {
  came(key: Buffer, record: Buffer): void;
  left(key: Buffer, record: Buffer): void;
}

/** The content of a value that was absent, and the digest of the entry that it is of. */
export interface FetchedValue {
  readonly key: Key;
  readonly digest: Uint8Array;
  readonly content: Uint8Array;
}

/**
 * The entries of all slots in one LMDB database that is opened in place. A key is the slot's number and the key's UTF-8 bytes, so
 * that a slot's keys are a range, in the order of their bytes. What the disk has changed is never returned.
 */
export class SlotEntries {
  readonly #database: Database<Buffer, Buffer>;

  constructor(database: Database<Buffer, Buffer>) {
    this.#database = database;
  }

  /**
   * The record at a key, which begins with the entry's digest; see `changeOf` and `revisionOf`: as the caller's transaction
   * has left it, else as of `view`. Fails with `replica_damaged`.
   */
  get(slot: number, key: Buffer, view?: ReadView): Buffer | undefined {
    const options = view && { transaction: view.transaction };
    const record = this.#database.get(slotKey(slot, key), options);
    if (record === undefined) return undefined;
    checkRecord(key, record);
    return Buffer.from(record);
  }

  /**
   * The keys of a range, ascending, with their records, as `get` sees them. Both are LMDB's: who keeps them, or reads
   * another entry meanwhile, copies them first. Fails with `replica_damaged`.
   */
  *scan(
    slot: number,
    { start, end }: KeyRange,
    view?: ReadView,
  ): Iterable<{ key: Buffer; record: Buffer }> {
    const bounds = { start: slotKey(slot, start), end: slotKey(slot, end) };
    const range = view === undefined ? bounds : { ...bounds, transaction: view.transaction };
    for (const { key: slotAndKey, value: record } of this.#database.getRange(range)) {
      const key = slotAndKey.subarray(SLOT_BYTES);
      checkRecord(key, record);
      yield { key, record };
    }
  }

  /**
   * Applies operations, of which the last one on a key counts, as part of the caller's transaction. The
   * listener hears of what they replace and of what they leave. Fails with `replica_damaged` when something
   * that they replace was changed by the disk.
   */
  apply(slot: number, { operations, revisions }: Changes, listener: EntryListener): void {
    const last = new Map(operations.map((operation, index) => [operation.key, index]));
    // All reads come first: LMDB carries out what was written before each read.
    const changes = [...last.values()].flatMap((index) => {
      const operation = operations[index];
      if (operation === undefined) return [];
      const key = Buffer.from(operation.key, "utf8");
      const revision = revisions[index] ?? 0;
      return { key, operation, revision, replaced: this.get(slot, key) };
    });
    for (const { key, operation, revision, replaced } of changes) {
      if (replaced !== undefined) listener.left(key, replaced);
      // Inside a transaction both take effect at once; its promise is the one to wait for.
      if (operation.kind === "put") {
        const record = recordOf(key, revision, operation);
        void this.#database.put(slotKey(slot, key), record);
        listener.came(key, record);
      } else if (replaced !== undefined) {
        void this.#database.remove(slotKey(slot, key));
      }
    }
  }

  /**
   * Takes the values that may be absent from some entries behind the key `after`, as part of the caller's
   * transaction. Returns the last key that was looked at; `undefined` when none is left.
   */
  strip(slot: number, after: Buffer | undefined, listener: EntryListener): Buffer | undefined {
    const { found, isEnd } = this.some(slot, after);
    for (const { key, record } of found) {
      const whole = { kind: "put", ...decodeEntry(storedKey(key), changeOf(record)) } as const;
      const stripped = withoutValue(whole);
      if (stripped !== whole) this.#replace(slot, { key, record, operation: stripped }, listener);
    }
    return isEnd ? undefined : found.at(-1)?.key;
  }

  /** Gives entries their values back, where they are still those that these are of; as `strip` does. */
  fill(slot: number, values: ReadonlyArray<FetchedValue>, listener: EntryListener): void {
    for (const fetched of values) {
      const key = Buffer.from(fetched.key, "utf8");
      const record = this.get(slot, key);
      if (record === undefined) continue;
      const operation = withValue(decodeEntry(fetched.key, changeOf(record)), fetched);
      if (operation !== undefined) this.#replace(slot, { key, record, operation }, listener);
    }
  }

  #replace(
    slot: number,
    entry: { readonly key: Buffer; readonly record: Buffer; readonly operation: HeldOperation },
    listener: EntryListener,
  ): void {
    const { key, record, operation } = entry;
    if (operation.kind === "delete") return;
    const next = recordOf(key, revisionOf(record), operation);
    void this.#database.put(slotKey(slot, key), next);
    listener.left(key, record);
    listener.came(key, next);
  }

  /** Entries behind a key, or from the first one, as many as one looks at in a moment. */
  some(
    slot: number,
    after: Buffer | undefined,
  ): {
    readonly found: ReadonlyArray<{ readonly key: Buffer; readonly record: Buffer }>;
    readonly isEnd: boolean;
  } {
    const found: Array<{ key: Buffer; record: Buffer }> = [];
    let bytes = 0;
    for (const each of this.scan(slot, keysBehind(after))) {
      if (found.length >= LIMITS.replicaStripRowsMax || bytes >= LIMITS.replicaStripBytesMax) {
        return { found, isEnd: false };
      }
      found.push({ key: Buffer.from(each.key), record: Buffer.from(each.record) });
      bytes += each.record.length;
    }
    return { found, isEnd: true };
  }

  /** The lowest slot from `slot` on that has an entry. */
  nextUsedSlot(slot: number): number | undefined {
    const [key] = this.#database.getKeys({ start: slotKey(slot), limit: 1 });
    return key?.readUInt32BE(0);
  }

  /** Removes some entries of a slot, as part of the caller's transaction; true when none is left. */
  removeSome(slot: number, rowsMax: number): boolean {
    const range = { start: slotKey(slot), end: slotKey(slot + 1), limit: rowsMax };
    const keys = Array.from(this.#database.getKeys(range), (key) => Buffer.from(key));
    for (const key of keys) void this.#database.remove(key);
    return keys.length < rowsMax;
  }
}

function slotKey(slot: number, key: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.allocUnsafe(SLOT_BYTES + key.length);
  bytes.writeUInt32BE(slot, 0);
  key.copy(bytes, SLOT_BYTES);
  return bytes;
}

/** What a put left at the record's key. */
export function changeOf(record: Buffer): Buffer {
  return record.subarray(HEAD_BYTES, record.length - CHECKSUM_BYTES);
}

/** Of the write that put it; 0 when it is not known. */
export function revisionOf(record: Buffer): Revision {
  return record.readDoubleBE(ENTRY_DIGEST_BYTES) as Revision; // the checksum says that it was one when stored
}

function recordOf(
  key: Buffer,
  revision: number,
  operation: HeldOperation & { kind: "put" },
): Buffer {
  const change = encodeChange(operation);
  const end = HEAD_BYTES + change.length;
  const record = Buffer.allocUnsafe(end + CHECKSUM_BYTES);
  const { value } = operation;
  // Of an entry without its value the digest can't be worked out: it came with it.
  record.set(value.kind === "absent" ? value.digest : entryDigest(joinOperation(key, change)));
  record.writeDoubleBE(revision, ENTRY_DIGEST_BYTES);
  change.copy(record, HEAD_BYTES);
  record.writeUInt32LE(crc32(record.subarray(0, end), crc32(key)), end);
  return record;
}

/** All keys behind one, or all there are. */
export function keysBehind(after: Buffer | undefined): KeyRange {
  return { start: after === undefined ? Buffer.alloc(0) : Buffer.concat([after, ZERO]), end: END };
}

// No key lies between one and itself with a zero byte behind, and none has a byte 0xff.
const ZERO = Buffer.of(0);
const END = Buffer.of(0xff);

/** What something is stored under is a key. */
export function storedKey(key: Buffer): Key {
  return key.toString("utf8") as Key;
}

function checkRecord(key: Buffer, record: Buffer): void {
  const isSound = crc32(record, crc32(key)) === CHECKSUM_RESIDUE;
  if (isSound && record.length > HEAD_BYTES) return;
  const shown = JSON.stringify(key.toString("utf8", 0, 100));
  throw new KvError("replica_damaged", `the entry of key ${shown} is damaged on this node's disk`);
}
