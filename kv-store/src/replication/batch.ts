import { crc32 } from "node:zlib";
import type { HeldOperation, Key, KvEntry, KvOperation, KvRecord } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { Revision, type HistoryPoint } from "../names.ts";
import { decodeHeldOperations, decodeOperations, encodeOperation } from "../record-codec.ts";
import { withoutValue } from "../replica/partial-entry.ts";

/**
 * Consecutive records in the form in which they travel: made once, shared by all nodes that want it. They
 * lead from `after` to the point that it names.
 */
export interface Batch extends Readonly<HistoryPoint> {
  readonly after: Revision;
  readonly body: Uint8Array;
  readonly checksum: number;
}

/** Encodes consecutive records, cut where a batch would grow past the size of a log's page. */
export function encodeBatches(records: ReadonlyArray<KvRecord>): Batch[] {
  const batches: Batch[] = [];
  let pending: Buffer[] = [];
  let bytes = 0;
  for (const [index, record] of records.entries()) {
    const operation = encodeOperation(record.operation);
    pending.push(operation);
    bytes += operation.length;
    const isFull = bytes >= LIMITS.logPageBytesMax || pending.length >= LIMITS.logPageRecordsMax;
    if (!isFull && index < records.length - 1) continue;
    batches.push(batchOf(record, pending));
    pending = [];
    bytes = 0;
  }
  return batches;
}

function batchOf({ revision, digest }: HistoryPoint, operations: ReadonlyArray<Buffer>): Batch {
  const after = Revision.parse(revision - operations.length);
  const body = Buffer.concat(operations);
  return { after, revision, digest, body, checksum: checksumOf(body, after, revision, digest) };
}

/** The operations of a batch. Fails with `protocol_violation` when it was damaged or is not one. */
export function decodeBatch(batch: Batch): KvOperation[] {
  const { after, revision, digest, body } = batch;
  const count = revision - after;
  if (count <= 0 || count > LIMITS.logPageRecordsMax) {
    throw new KvError("protocol_violation", `a batch from ${after} to ${revision}`);
  }
  return decodeChecked(body, { checksum: batch.checksum, place: [after, revision, digest], count });
}

/** The entries behind the key `after` (null: from the first key) up to the key `through`. */
export interface SnapshotPage {
  readonly after: Key | null;
  readonly through: Key;
  readonly body: Uint8Array;
  readonly checksum: number;
}

/** A page of entries that follow `after`, ascending; `undefined` when there are none. */
export function encodePage(
  after: Key | null,
  entries: ReadonlyArray<KvEntry>,
  { valuesByReference = false }: { readonly valuesByReference?: boolean } = {},
): SnapshotPage | undefined {
  const through = entries.at(-1)?.key;
  if (through === undefined) return undefined;
  const puts = entries.map((entry) => ({ kind: "put", ...entry }) as const);
  const held = valuesByReference ? puts.map(withoutValue) : puts;
  const body = Buffer.concat(held.map(encodeOperation));
  return { after, through, body, checksum: checksumOf(body, after, through) };
}

/** The puts of a page. Fails with `protocol_violation` when it was damaged or is not one. */
export function decodePage(page: SnapshotPage): HeldOperation[] {
  const { body, checksum, after, through } = page;
  checkBody(body, { checksum, place: [after, through] });
  return decodeHeldOperations(body, LIMITS.logPageRecordsMax);
}

/** Operations on their way to the origin. */
export interface WriteBody {
  readonly count: number;
  readonly body: Uint8Array;
  readonly checksum: number;
}

export function encodeWrite(operations: ReadonlyArray<KvOperation>): WriteBody {
  const body = Buffer.concat(operations.map(encodeOperation));
  return { count: operations.length, body, checksum: checksumOf(body, operations.length, 0) };
}

/** The operations of a write. Fails with `protocol_violation` when it was damaged or is not one. */
export function decodeWrite(write: WriteBody): KvOperation[] {
  const { body, checksum, count } = write;
  return decodeChecked(body, { checksum, place: [count, 0], count });
}

/** Where a body belongs: revisions, keys, counts, or the state to which it leads. */
type Place = ReadonlyArray<number | string | null>;

interface Expectation {
  readonly checksum: number;
  readonly place: Place;
}

function decodeChecked(
  body: Uint8Array,
  expected: Expectation & { readonly count: number },
): KvOperation[] {
  checkBody(body, expected);
  const operations = decodeOperations(body, expected.count);
  if (operations.length === expected.count) return operations;
  throw new KvError(
    "protocol_violation",
    `${operations.length} operations where ${expected.count} were announced`,
  );
}

function checkBody(body: Uint8Array, expected: Expectation): void {
  const actual = checksumOf(body, ...expected.place);
  if (actual !== expected.checksum) {
    throw new KvError(
      "protocol_violation",
      `the checksum of ${body.length} bytes is ${actual}, and ${expected.checksum} was promised`,
    );
  }
}

/** CRC-32 of the bytes and of where they belong, so that a whole body in the wrong place is noticed too. */
function checksumOf(body: Uint8Array, ...place: Place): number {
  return crc32(body, crc32(JSON.stringify(place)));
}
