import { crc32 } from "node:zlib";
import type { HeldOperation, Key, KvCondition, KvEntry, KvOperation, KvRecord } from "../entry.ts";
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

interface Body {
  readonly body: Uint8Array;
  readonly checksum: number;
}

/** The entries behind the key `after` (null: from the first key) up to the key `through`. */
export interface SnapshotPage extends Body {
  readonly after: Key | null;
  readonly through: Key;
  /** Of each entry, in the order of the body. */
  readonly revisions?: Body | undefined;
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
  const revisions = encodeRevisions(entries);
  return {
    ...{ after, through, body, checksum: checksumOf(body, after, through) },
    revisions: { body: revisions, checksum: checksumOf(revisions, after, through) },
  };
}

/** The puts of a page, and the revision of each; 0 where the origin did not tell it. */
export interface PageContent {
  readonly operations: ReadonlyArray<HeldOperation>;
  readonly revisions: ReadonlyArray<Revision>;
}

/** Fails with `protocol_violation` when the page was damaged or is not one. */
export function decodePage(page: SnapshotPage): PageContent {
  const { body, checksum, after, through } = page;
  checkSum(body, { checksum, place: [after, through] });
  const operations = decodeHeldOperations(body, LIMITS.logPageRecordsMax);
  return { operations, revisions: decodeRevisions(page, operations.length) };
}

const REVISION_BYTES = 8;

function encodeRevisions(entries: ReadonlyArray<KvEntry>): Buffer {
  const bytes = Buffer.allocUnsafe(entries.length * REVISION_BYTES);
  for (const [index, { revision = 0 }] of entries.entries()) {
    bytes.writeDoubleBE(revision, index * REVISION_BYTES);
  }
  return bytes;
}

function decodeRevisions(page: SnapshotPage, count: number): Revision[] {
  const { revisions, after, through } = page;
  if (revisions === undefined) return Array.from({ length: count }, () => Revision.parse(0));
  const { body, checksum } = revisions;
  checkSum(body, { checksum, place: [after, through] });
  if (body.length !== count * REVISION_BYTES) {
    const text = `${body.length} bytes of revisions of ${count} entries`;
    throw new KvError("protocol_violation", text);
  }
  const bytes = new DataView(body.buffer, body.byteOffset, body.byteLength);
  return Array.from({ length: count }, (_, index) => {
    const revision = bytes.getFloat64(index * REVISION_BYTES);
    // As `Revision` has it, which would cost more than the rest of an entry.
    if (Number.isSafeInteger(revision) && revision >= 0) return revision as Revision;
    throw new KvError("protocol_violation", "the revision of an entry is no number of one");
  });
}

/** Operations on their way to the origin, and what must be true for them. */
export interface WriteBody extends Body {
  readonly count: number;
  readonly conditions?: ReadonlyArray<KvCondition> | undefined;
}

export function encodeWrite(
  operations: ReadonlyArray<KvOperation>,
  conditions: ReadonlyArray<KvCondition> = [],
): WriteBody {
  const body = Buffer.concat(operations.map(encodeOperation));
  const place = placeOfWrite(operations.length, conditions);
  const write = { count: operations.length, body, checksum: checksumOf(body, ...place) };
  return conditions.length === 0 ? write : { ...write, conditions };
}

/** The operations of a write. Fails with `protocol_violation` when it was damaged or is not one. */
export function decodeWrite(write: WriteBody): KvOperation[] {
  const { body, checksum, count, conditions = [] } = write;
  return decodeChecked(body, { checksum, place: placeOfWrite(count, conditions), count });
}

function placeOfWrite(count: number, conditions: ReadonlyArray<KvCondition>): Place {
  return [count, 0, ...conditions.flatMap(({ key, revision }) => [key, revision])];
}

/** Where a body belongs: revisions, keys, counts, or the state to which it leads. */
type Place = ReadonlyArray<number | string | null>;

interface Expectation {
  readonly checksum: number;
  readonly place: Place;
}

function checkSum(body: Uint8Array, expected: Expectation): void {
  const actual = checksumOf(body, ...expected.place);
  if (actual === expected.checksum) return;
  throw new KvError(
    "protocol_violation",
    `the checksum of ${body.length} bytes is ${actual}, and ${expected.checksum} was promised`,
  );
}

function decodeChecked(
  body: Uint8Array,
  expected: Expectation & { readonly count: number },
): KvOperation[] {
  checkSum(body, expected);
  const operations = decodeOperations(body, expected.count);
  if (operations.length === expected.count) return operations;
  throw new KvError(
    "protocol_violation",
    `${operations.length} operations where ${expected.count} were announced`,
  );
}

/** CRC-32 of the bytes and of where they belong, so that a whole body in the wrong place is noticed too. */
function checksumOf(body: Uint8Array, ...place: Place): number {
  return crc32(body, crc32(JSON.stringify(place)));
}
