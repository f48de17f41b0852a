import type { KvOperation, KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { Revision, type NamespaceId } from "../names.ts";
import { encodeOperation } from "../record-codec.ts";
import { byteaArray } from "./bytea-array.ts";
import { nextLogStart } from "./log-horizon.ts";
import type { Change, Statement } from "./postgres-connections.ts";
import { isLogHeld } from "./postgres-log-holds.ts";

/** A namespace's row, locked by the transaction that has read it. */
export interface LockedRow {
  readonly id: number;
  readonly namespace: string;
  readonly revision: number;
  readonly log_start: number;
  readonly log_bytes: number;
  readonly until_ms: number | null;
}

/** What one transaction adds to the history of a namespace whose row it has locked. */
export class HistoryAddition {
  readonly namespace: NamespaceId;
  readonly id: number;
  readonly records: KvRecord[] = [];
  readonly encoded: Buffer[] = [];
  /** What becomes of each key in the end: its last operation. */
  readonly last = new Map<string, KvOperation>();
  readonly #row: LockedRow;
  #revision: number;
  #bytes = 0;

  constructor(row: LockedRow) {
    this.namespace = row.namespace as NamespaceId; // found by a parsed id, so it is one
    this.id = row.id;
    this.#row = row;
    this.#revision = row.revision;
  }

  /** The revision before the first record. */
  get after(): Revision {
    return Revision.parse(this.#row.revision);
  }

  get revision(): Revision {
    return Revision.parse(this.#revision);
  }

  /** Bytes that came to the log. */
  get bytes(): number {
    return this.#bytes;
  }

  append(operation: KvOperation): void {
    const bytes = encodeOperation(operation);
    this.#revision += 1;
    this.#bytes += bytes.length;
    this.records.push({ revision: this.revision, operation });
    this.encoded.push(bytes);
    this.last.set(operation.key, operation);
  }

  /** Where the log is to start; `undefined` when it stays as it is. */
  nextLogStart(nowMs: number): number | undefined {
    const { log_start, log_bytes, until_ms } = this.#row;
    const extent = { revision: this.#revision, log_start, log_bytes: log_bytes + this.#bytes };
    const isHeld = isLogHeld(until_ms, nowMs);
    return nextLogStart(extent, { added: this.records.length, isHeld });
  }
}

const ADD_RECORDS: Statement = {
  name: "add_records",
  text: `INSERT INTO log (namespace_id, revision, operation)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])`,
};
const PUT_ENTRIES: Statement = {
  name: "put_entries",
  text: `INSERT INTO entries (namespace_id, key, expires_at, metadata, blob_hash, blob_size, value)
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bigint[], $7::bytea[])
    ON CONFLICT (namespace_id, key) DO UPDATE SET expires_at = excluded.expires_at,
      metadata = excluded.metadata, blob_hash = excluded.blob_hash, blob_size = excluded.blob_size,
      value = excluded.value`,
};
const DELETE_ENTRIES: Statement = {
  name: "delete_entries",
  text: `DELETE FROM entries USING unnest($1::bigint[], $2::bytea[]) AS gone (namespace_id, key)
    WHERE entries.namespace_id = gone.namespace_id AND entries.key = gone.key`,
};
const MOVE_NAMESPACES: Statement = {
  name: "move_namespaces",
  text: `UPDATE namespaces SET revision = moved.revision, log_bytes = log_bytes + moved.bytes
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS moved (id, revision, bytes)
    WHERE namespaces.id = moved.id`,
};
const TRIM_LOG: Statement = {
  name: "trim_log",
  text: `WITH trimmed AS (
      DELETE FROM log WHERE namespace_id = $1 AND revision <= $2
      RETURNING octet_length(operation) AS bytes
    )
    UPDATE namespaces SET log_start = $2,
      log_bytes = log_bytes - (SELECT coalesce(sum(bytes), 0)::bigint FROM trimmed)
    WHERE id = $1`,
};

/** The statements that store the additions, made one by one: large ones are not all in memory at once. */
export function* changesOf(
  additions: ReadonlyArray<HistoryAddition>,
  nowMs: number,
): Iterable<Change> {
  yield* addRecords(additions);
  yield* replaceEntries(additions);
  yield {
    statement: MOVE_NAMESPACES,
    values: [
      additions.map(({ id }) => id),
      additions.map(({ revision }) => revision),
      additions.map(({ bytes }) => bytes),
    ],
  };
  for (const addition of additions) {
    const start = addition.nextLogStart(nowMs);
    if (start !== undefined) yield { statement: TRIM_LOG, values: [addition.id, start] };
  }
}

function* addRecords(additions: ReadonlyArray<HistoryAddition>): Iterable<Change> {
  const rows = additions.flatMap(({ id, records, encoded }) =>
    encoded.map((operation, index) => ({ id, revision: records[index]?.revision, operation })),
  );
  for (const chunk of chunksOf(rows, ({ operation }) => operation.length)) {
    yield {
      statement: ADD_RECORDS,
      values: [
        chunk.map(({ id }) => id),
        chunk.map(({ revision }) => revision),
        byteaArray(chunk.map(({ operation }) => operation)),
      ],
    };
  }
}

function* replaceEntries(additions: ReadonlyArray<HistoryAddition>): Iterable<Change> {
  // Only the last operation on a key has an effect, and one statement may touch a row once.
  const changed = additions.flatMap(({ id, last }) =>
    [...last.values()].map((operation) => ({ id, operation })),
  );
  const puts = changed.flatMap(({ id, operation }) =>
    operation.kind === "put" ? { id, operation } : [],
  );
  for (const chunk of chunksOf(puts, ({ operation }) => inlineBytes(operation))) {
    const ids = chunk.map(({ id }) => id);
    yield { statement: PUT_ENTRIES, values: [ids, ...columnsOf(chunk)] };
  }
  const deletes = changed.filter(({ operation }) => operation.kind === "delete");
  for (const chunk of chunksOf(deletes, () => 0)) {
    const keys = chunk.map(({ operation }) => Buffer.from(operation.key, "utf8"));
    yield { statement: DELETE_ENTRIES, values: [chunk.map(({ id }) => id), byteaArray(keys)] };
  }
}

type Put = KvOperation & { readonly kind: "put" };

/** Key, expiry, metadata, hash, size and value, each as an array of all rows. */
function columnsOf(rows: ReadonlyArray<{ readonly operation: Put }>): ReadonlyArray<unknown> {
  const operations = rows.map(({ operation }) => operation);
  const blobs = operations.map(({ value }) => (value.kind === "blob" ? value : undefined));
  return [
    byteaArray(operations.map(({ key }) => Buffer.from(key, "utf8"))),
    operations.map(({ expiresAt }) => expiresAt),
    byteaArray(
      operations.map(({ metadata }) =>
        metadata === undefined ? null : Buffer.from(metadata, "utf8"),
      ),
    ),
    byteaArray(blobs.map((blob) => (blob === undefined ? null : Buffer.from(blob.hash, "hex")))),
    blobs.map((blob) => blob?.size),
    byteaArray(operations.map(({ value }) => (value.kind === "inline" ? value.bytes : null))),
  ];
}

function inlineBytes({ value }: Put): number {
  return value.kind === "inline" ? value.bytes.length : 0;
}

// Each row's own share, which bounds a chunk of small ones.
const ROW_BYTES = 1_024;

/** Rows in pieces, each of which ends after the row that crosses the size of a statement. */
function* chunksOf<Row>(
  rows: ReadonlyArray<Row>,
  bytesOf: (row: Row) => number,
): Iterable<ReadonlyArray<Row>> {
  let chunk: Row[] = [];
  let bytes = 0;
  for (const row of rows) {
    chunk.push(row);
    bytes += ROW_BYTES + bytesOf(row);
    if (bytes < LIMITS.statementBytesMax) continue;
    yield chunk;
    chunk = [];
    bytes = 0;
  }
  if (chunk.length > 0) yield chunk;
}
