import type { KvOperation, KvRecord } from "../entry.ts";
import { Revision, StateDigest, type NamespaceId } from "../names.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest, StateSum } from "../state-digest.ts";
import { byteaArray } from "./bytea-array.ts";
import { bytesMaxOf, nextLogStart, type LogHorizon } from "./log-horizon.ts";
import type { Change, Statement } from "./postgres-connections.ts";
import { sizeOf, type KvSize } from "./quota.ts";
import { chunksOf } from "./statement-chunks.ts";

/** A namespace's row, locked by the transaction that has read it. */
export interface LockedRow {
  readonly id: number;
  readonly namespace: string;
  readonly revision: number;
  readonly digest: Buffer;
  readonly log_start: number;
  readonly log_bytes: number;
  readonly account: string | null;
  readonly written_ms: number;
  readonly rewritten_ms: number;
}

/** What a key that is written to held before. */
export interface CurrentEntry {
  readonly digest: Buffer;
  /** Of the write that put it. */
  readonly revision: number;
  readonly expires_at: number | null;
  readonly blob_hash: Buffer | null;
  /** As `sizeOf` counts them. */
  readonly bytes: number;
  /** What it takes in the log. */
  readonly logged: number;
}

/** An operation as the log keeps it. */
interface AddedRecord {
  readonly bytes: Buffer;
  readonly replaced: CurrentEntry | undefined;
  /** The first of the transaction on its key: what it replaced is what the table of entries has. */
  readonly isFirst: boolean;
}

/** What one transaction adds to the history of a namespace whose row it has locked. */
export class HistoryAddition {
  readonly namespace: NamespaceId;
  readonly id: number;
  readonly records: KvRecord[] = [];
  /** As many. */
  readonly added: AddedRecord[] = [];
  /** When all of it is committed; no record is dated before one that it follows. */
  readonly atMs: number;
  /** What becomes of each key in the end: its last operation. */
  readonly last = new Map<string, KvOperation>();
  readonly #row: LockedRow;
  /** What all keys that are looked at or written to hold by now. */
  readonly #entries: Map<string, CurrentEntry>;
  readonly #sum: StateSum;
  readonly #nowMs: number;
  #rewrittenMs: number;
  #revision: number;
  #bytes = 0;
  #growth: KvSize = { keys: 0, bytes: 0 };

  /** `current` has what is there of all keys that are going to be looked at or written to. */
  constructor(row: LockedRow, current: ReadonlyMap<string, CurrentEntry>, nowMs: number) {
    this.namespace = row.namespace as NamespaceId; // found by a parsed id, so it is one
    this.id = row.id;
    this.atMs = Math.max(row.written_ms, nowMs);
    this.#row = row;
    this.#entries = new Map(current);
    this.#sum = new StateSum(StateDigest.parse(row.digest.toString("hex")));
    this.#revision = row.revision;
    this.#nowMs = nowMs;
    this.#rewrittenMs = row.rewritten_ms;
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

  /** By how much the namespace has grown. */
  get growth(): KvSize {
    return this.#growth;
  }

  /** Whose it is; null when that is not known. */
  get account(): string | null {
    return this.#row.account;
  }

  /** When a restore last wrote to it, in milliseconds since the epoch. */
  get rewrittenMs(): number {
    return this.#rewrittenMs;
  }

  /** Some of it is of a restore. */
  rewritten(): void {
    this.#rewrittenMs = this.#nowMs;
  }

  append(operation: KvOperation): void {
    const { key } = operation;
    const bytes = encodeOperation(operation);
    const replaced = this.#entries.get(key);
    const isFirst = !this.last.has(key);
    this.#revision += 1;
    this.#bytes += bytes.length + (isFirst ? (replaced?.logged ?? 0) : 0);
    this.added.push({ bytes, replaced, isFirst });
    this.#replace(replaced, operation, bytes);
    this.records.push({ revision: this.revision, digest: this.digest, operation });
    this.last.set(key, operation);
  }

  #replace(replaced: CurrentEntry | undefined, operation: KvOperation, bytes: Buffer): void {
    const put = operation.kind === "put" ? entryAfter(operation, bytes, this.revision) : undefined;
    if (replaced !== undefined) this.#sum.toggle(replaced.digest);
    if (put !== undefined) this.#sum.toggle(put.digest);
    this.#growth = {
      keys: this.#growth.keys + Number(put !== undefined) - Number(replaced !== undefined),
      bytes: this.#growth.bytes + (put?.bytes ?? 0) - (replaced?.bytes ?? 0),
    };
    if (put === undefined) this.#entries.delete(operation.key);
    else this.#entries.set(operation.key, put);
  }

  /** Where the log is to start; `undefined` when it stays as it is. */
  nextLogStart(horizon: Pick<LogHorizon, "bytesMax">): number | undefined {
    const { log_start, log_bytes } = this.#row;
    const times = { rewrittenMs: this.#rewrittenMs, nowMs: this.#nowMs };
    const bytesMax = bytesMaxOf(horizon, times);
    const extent = { revision: this.#revision, log_start, log_bytes: log_bytes + this.#bytes };
    return nextLogStart(extent, { added: this.records.length, bytesMax });
  }
}

/** What a put, encoded as these bytes, leaves at its key. */
function entryAfter(operation: Put, bytes: Buffer, revision: Revision): CurrentEntry {
  const { value, expiresAt = null } = operation;
  return {
    digest: entryDigest(bytes),
    revision,
    expires_at: expiresAt,
    blob_hash: value.kind === "blob" ? Buffer.from(value.hash, "hex") : null,
    bytes: sizeOf(operation),
    logged: 0, // only what a key held before the transaction goes to the log
  };
}

const ADD_RECORDS: Statement = {
  name: "add_records",
  // What is replaced goes from table to table, without a stay here.
  text: `INSERT INTO log (namespace_id, revision, at_ms, digest, key, operation, replaced_digest, replaced_hash,
      replaced_expires_at, replaced_metadata, replaced_size, replaced_value)
    SELECT added.namespace_id, added.revision, at_ms, added.digest, added.key, operation,
      replaced_digest, replaced_hash, expires_at, metadata, blob_size, value
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[],
      $7::bytea[], $8::bytea[], $9::boolean[])
      AS added (namespace_id, revision, at_ms, digest, key, operation, replaced_digest,
        replaced_hash, is_first)
    LEFT JOIN entries
      ON is_first AND entries.namespace_id = added.namespace_id AND entries.key = added.key`,
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
      log_bytes = log_bytes + moved.logged, written_ms = moved.at_ms, rewritten_ms = moved.rewritten_ms,
      keys = namespaces.keys + moved.keys, bytes = namespaces.bytes + moved.bytes
    FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[],
      $7::bigint[], $8::bigint[]) AS moved (id, revision, digest, logged, at_ms, keys, bytes, rewritten_ms)
    WHERE namespaces.id = moved.id`,
};
/** Drops the records of a log up to a revision, which it has. */
export const TRIM_LOG: Statement = {
  name: "trim_log",
  text: `WITH trimmed AS (
      DELETE FROM log WHERE namespace_id = $1 AND revision <= $2
      RETURNING octet_length(operation) + coalesce(octet_length(replaced_value), 0)
        + coalesce(octet_length(replaced_metadata), 0) AS bytes
    )
    UPDATE namespaces SET log_start = $2, log_start_digest = start.digest, log_start_ms = start.at_ms,
      log_bytes = log_bytes - (SELECT coalesce(sum(bytes), 0)::bigint FROM trimmed)
    FROM log AS start
    WHERE id = $1 AND start.namespace_id = $1 AND start.revision = $2`,
};

/** The statements that store the additions, made one by one: large ones are not all in memory at once. */
export function* changesOf(
  additions: ReadonlyArray<HistoryAddition>,
  horizon: Pick<LogHorizon, "bytesMax">,
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
      additions.map(({ atMs }) => atMs),
      additions.map(({ growth }) => growth.keys),
      additions.map(({ growth }) => growth.bytes),
      additions.map(({ rewrittenMs }) => rewrittenMs),
    ],
  };
  for (const addition of additions) {
    const start = addition.nextLogStart(horizon);
    if (start !== undefined) yield { statement: TRIM_LOG, values: [addition.id, start] };
  }
}

function* addRecords(additions: ReadonlyArray<HistoryAddition>): Iterable<Change> {
  const rows = additions.flatMap(({ id, atMs, records, added }) =>
    records.flatMap(({ revision, digest, operation: { key } }, index) => {
      const { bytes: operation, ...rest } = added[index] as AddedRecord; // there are as many
      return { ...rest, id, atMs, revision, digest, key, operation };
    }),
  );
  for (const chunk of chunksOf(rows, ({ operation }) => operation.length)) {
    yield {
      statement: ADD_RECORDS,
      values: [
        chunk.map(({ id }) => id),
        chunk.map(({ revision }) => revision),
        chunk.map(({ atMs }) => atMs),
        byteaArray(chunk.map(({ digest }) => Buffer.from(digest, "hex"))),
        byteaArray(chunk.map(({ key }) => Buffer.from(key, "utf8"))),
        byteaArray(chunk.map(({ operation }) => operation)),
        byteaArray(chunk.map(({ replaced }) => replaced?.digest ?? null)),
        byteaArray(chunk.map(({ replaced }) => replaced?.blob_hash ?? null)),
        chunk.map(({ isFirst }) => isFirst),
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
