import type { KvOperation, KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { Revision, StateDigest, type NamespaceId } from "../names.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest, StateSum } from "../state-digest.ts";
import { byteaArray } from "./bytea-array.ts";
import { nextLogStart } from "./log-horizon.ts";
import type { Change, Statement } from "./postgres-connections.ts";
import { isLogHeld } from "./postgres-log-holds.ts";

/** A namespace's row, locked by the transaction that has read it. */
export interface LockedRow {
  readonly id: number;
  readonly namespace: string;
  readonly revision: number;
  readonly digest: Buffer;
  readonly log_start: number;
  readonly log_bytes: number;
  readonly until_ms: number | null;
}

/** What a key that is written to held before. */
export interface CurrentEntry {
  readonly digest: Buffer;
  /** Of the write that put it. */
  readonly revision: number;
  readonly expires_at: number | null;
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
  /** What all keys that are looked at or written to hold by now. */
  readonly #entries: Map<string, CurrentEntry>;
  readonly #sum: StateSum;
  #revision: number;
  #bytes = 0;

  /** `current` has what is there of all keys that are going to be looked at or written to. */
  constructor(row: LockedRow, current: ReadonlyMap<string, CurrentEntry>) {
    this.namespace = row.namespace as NamespaceId; // found by a parsed id, so it is one
    this.id = row.id;
    this.#row = row;
    this.#entries = new Map(current);
    this.#sum = new StateSum(StateDigest.parse(row.digest.toString("hex")));
    this.#revision = row.revision;
  }

  /** The revision before the first record. */
  get after(): Revision {
    return Revision.parse(this.#row.revision);
  }

  get revision(): Revision {
    return Revision.parse(this.#revision);
  }

  /** Of the state as of `revision`. */
  get digest(): StateDigest {
    return this.#sum.digest;
  }

  /** What the key holds by now; `undefined` when it is absent. */
  entry(key: string): CurrentEntry | undefined {
    return this.#entries.get(key);
  }

  /** Of the write that put what the key holds by now; 0 when it is absent, or has expired. */
  liveRevision(key: string, nowSeconds: number): Revision {
    const entry = this.#entries.get(key);
    const isLive = entry !== undefined && (entry.expires_at ?? Infinity) > nowSeconds;
    return Revision.parse(isLive ? entry.revision : 0);
  }

  /** Bytes that came to the log. */
  get bytes(): number {
    return this.#bytes;
  }

  append(operation: KvOperation): void {
    const bytes = encodeOperation(operation);
    this.#revision += 1;
    this.#bytes += bytes.length;
    this.#replace(operation, bytes);
    this.records.push({ revision: this.revision, digest: this.digest, operation });
    this.encoded.push(bytes);
    this.last.set(operation.key, operation);
  }

  #replace(operation: KvOperation, bytes: Buffer): void {
    const replaced = this.#entries.get(operation.key);
    if (replaced !== undefined) this.#sum.toggle(replaced.digest);
    this.#entries.delete(operation.key);
    if (operation.kind === "delete") return;
    const digest = entryDigest(bytes);
    this.#sum.toggle(digest);
    const expires_at = operation.expiresAt ?? null;
    this.#entries.set(operation.key, { digest, revision: this.#revision, expires_at });
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
  text: `INSERT INTO log (namespace_id, revision, digest, operation)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[])`,
};
const PUT_ENTRIES: Statement = {
  name: "put_entries",
  text: `INSERT INTO entries
      (namespace_id, key, digest, revision, expires_at, metadata, blob_hash, blob_size, value)
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[],
      $6::bytea[], $7::bytea[], $8::bigint[], $9::bytea[])
    ON CONFLICT (namespace_id, key) DO UPDATE SET
      digest = excluded.digest, revision = excluded.revision,
      expires_at = excluded.expires_at, metadata = excluded.metadata,
      blob_hash = excluded.blob_hash, blob_size = excluded.blob_size, value = excluded.value`,
};
const DELETE_ENTRIES: Statement = {
  name: "delete_entries",
  text: `DELETE FROM entries USING unnest($1::bigint[], $2::bytea[]) AS gone (namespace_id, key)
    WHERE entries.namespace_id = gone.namespace_id AND entries.key = gone.key`,
};
const MOVE_NAMESPACES: Statement = {
  name: "move_namespaces",
  text: `UPDATE namespaces SET revision = moved.revision, digest = moved.digest,
      log_bytes = log_bytes + moved.bytes
    FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[])
      AS moved (id, revision, digest, bytes)
    WHERE namespaces.id = moved.id`,
};
const TRIM_LOG: Statement = {
  name: "trim_log",
  text: `WITH trimmed AS (
      DELETE FROM log WHERE namespace_id = $1 AND revision <= $2
      RETURNING octet_length(operation) AS bytes
    )
    UPDATE namespaces SET log_start = $2,
      log_start_digest = (SELECT digest FROM log WHERE namespace_id = $1 AND revision = $2),
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
      byteaArray(additions.map(({ digest }) => Buffer.from(digest, "hex"))),
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
    records.map(({ revision, digest }, index) => ({
      ...{ id, revision, digest: Buffer.from(digest, "hex") },
      operation: encoded[index] ?? Buffer.alloc(0), // there are as many
    })),
  );
  for (const chunk of chunksOf(rows, ({ operation }) => operation.length)) {
    yield {
      statement: ADD_RECORDS,
      values: [
        chunk.map(({ id }) => id),
        chunk.map(({ revision }) => revision),
        byteaArray(chunk.map(({ digest }) => digest)),
        byteaArray(chunk.map(({ operation }) => operation)),
      ],
    };
  }
}

function* replaceEntries(additions: ReadonlyArray<HistoryAddition>): Iterable<Change> {
  // Only the last operation on a key has an effect, and one statement may touch a row once.
  const changed = additions.flatMap((addition) =>
    [...addition.last.values()].map((operation) => ({
      id: addition.id,
      operation,
      entry: addition.entry(operation.key),
    })),
  );
  const puts = changed.flatMap(({ operation, ...row }) =>
    operation.kind === "put" ? { ...row, operation } : [],
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

/** Key, digest, revision, expiry, metadata, hash, size and value, each as an array of all rows. */
function columnsOf(
  rows: ReadonlyArray<{ readonly operation: Put; readonly entry: CurrentEntry | undefined }>,
): ReadonlyArray<unknown> {
  const operations = rows.map(({ operation }) => operation);
  const blobs = operations.map(({ value }) => (value.kind === "blob" ? value : undefined));
  return [
    byteaArray(operations.map(({ key }) => Buffer.from(key, "utf8"))),
    byteaArray(rows.map(({ entry }) => entry?.digest ?? null)),
    rows.map(({ entry }) => entry?.revision),
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
