import { crc32 } from "node:zlib";
import type { Database } from "lmdb";
import type { KeyRange } from "../cursor.ts";
import type { KvOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import type { Revision } from "../names.ts";
import { encodeChange, joinOperation } from "../record-codec.ts";
import { ENTRY_DIGEST_BYTES, entryDigest } from "../state-digest.ts";

// A record is the digest of the entry, its revision (f64), the change of `record-codec.ts`, and a CRC-32 of the
// key and of all of it. The CRC is what every read can afford; with the digest, replacing an entry and checking
// it need no hash.
const REVISION_BYTES = 8;
const HEAD_BYTES = ENTRY_DIGEST_BYTES + REVISION_BYTES;
const CHECKSUM_BYTES = 4;
const SLOT_BYTES = 4;

// What CRC-32 makes of anything that is followed by its own CRC, lowest byte first: so a read needs no view
// of the record without it, which would cost it more than the CRC.
const CHECKSUM_RESIDUE = 0x2144df1c;

/** Operations with the revision of each. */
export interface Changes {
  readonly operations: ReadonlyArray<KvOperation>;
  readonly revisions: ReadonlyArray<number>;
}

/** Told of each entry that comes into a slot or leaves it, by bytes that begin with its digest. */
export type DigestListener = (key: Buffer, digest: Buffer) => void;

/**
 * The entries of all slots in one LMDB database. A key is the slot's number and the key's UTF-8 bytes, so
 * that a slot's keys are a range, in the order of their bytes. What the disk has changed is never returned.
 */
export class SlotEntries {
  readonly #database: Database<Buffer, Buffer>;

  constructor(database: Database<Buffer, Buffer>) {
    this.#database = database;
  }

  /** The record at a key, which begins with the entry's digest; see `changeOf` and `revisionOf`. Fails with `replica_damaged`. */
  get(slot: number, key: Buffer): Buffer | undefined {
    const record = this.#database.getBinary(slotKey(slot, key));
    if (record !== undefined) checkRecord(key, record);
    return record;
  }

  /** The keys of a range, ascending, with their records. Fails with `replica_damaged`. */
  *range(slot: number, { start, end }: KeyRange): Iterable<{ key: Buffer; record: Buffer }> {
    const range = { start: slotKey(slot, start), end: slotKey(slot, end) };
    for (const { key: slotAndKey, value: record } of this.#database.getRange(range)) {
      const key = slotAndKey.subarray(SLOT_BYTES);
      checkRecord(key, record);
      yield { key, record };
    }
  }

  /**
   * Applies operations, of which the last one on a key counts, as part of the caller's transaction.
   * `onDigest` hears of what they replace and of what they leave. Fails with `replica_damaged` when
   * something that they replace was changed by the disk.
   */
  apply(slot: number, { operations, revisions }: Changes, onDigest: DigestListener): void {
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
      if (replaced !== undefined) onDigest(key, replaced);
      // Inside a transaction both take effect at once; its promise is the one to wait for.
      if (operation.kind === "put") {
        const record = recordOf(key, revision, encodeChange(operation));
        void this.#database.put(slotKey(slot, key), record);
        onDigest(key, record);
      } else if (replaced !== undefined) {
        void this.#database.remove(slotKey(slot, key));
      }
    }
  }

  /** The lowest slot from `slot` on that has an entry. */
  nextUsedSlot(slot: number): number | undefined {
    const [key] = this.#database.getKeys({ start: slotKey(slot), limit: 1 });
    return key?.readUInt32BE(0);
  }

  /** Removes some entries of a slot, as part of the caller's transaction; true when none is left. */
  removeSome(slot: number, rowsMax: number): boolean {
    const range = { start: slotKey(slot), end: slotKey(slot + 1), limit: rowsMax };
    const keys = [...this.#database.getKeys(range)];
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

function recordOf(key: Buffer, revision: number, change: Buffer): Buffer {
  const end = HEAD_BYTES + change.length;
  const record = Buffer.allocUnsafe(end + CHECKSUM_BYTES);
  entryDigest(joinOperation(key, change)).copy(record);
  record.writeDoubleBE(revision, ENTRY_DIGEST_BYTES);
  change.copy(record, HEAD_BYTES);
  record.writeUInt32LE(crc32(record.subarray(0, end), crc32(key)), end);
  return record;
}

function checkRecord(key: Buffer, record: Buffer): void {
  const isSound = crc32(record, crc32(key)) === CHECKSUM_RESIDUE;
  if (isSound && record.length > HEAD_BYTES) return;
  const shown = JSON.stringify(key.toString("utf8", 0, 100));
  throw new KvError("replica_damaged", `the entry of key ${shown} is damaged on this node's disk`);
}
