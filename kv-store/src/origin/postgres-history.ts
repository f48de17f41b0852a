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
  readonly expires_at: number | null;
  readonly blob_hash: Buffer | null;
}

/** What one transaction adds to the history of a namespace whose row it has locked. */
export class HistoryAddition {
  readonly namespace: NamespaceId;
  readonly id: number;
  readonly records: KvRecord[] = [];
  readonly encoded: Buffer[] = [];
  /** The large value that each record's operation took the place of. */
  readonly replacedHashes: Array<Buffer | null> = [];
  /** What becomes of each key in the end: its last operation. */
  readonly last = new Map<string, KvOperation>();
  readonly #row: LockedRow;
  /** Of the entries of all keys that are written to, as they are by now. */
  readonly #digests: Map<string, Buffer>;
  /** Of those whose value is a large one, its hash. */
  readonly #hashes: Map<string, Buffer>;
  readonly #sum: StateSum;
  #revision: number;
  #bytes = 0;

  /** `current` has what is there of all keys that are going to be written to. */
  constructor(row: LockedRow, current: ReadonlyMap<string, CurrentEntry>) {
    this.namespace = row.namespace as NamespaceId; // found by a parsed id, so it is one
    this.id = row.id;
    this.#row = row;
    this.#digests = new Map([...current].map(([key, { digest }]) => [key, digest]));
    this.#hashes = new Map(
      [...current].flatMap(([key, { blob_hash }]) =>
        blob_hash === null ? [] : [[key, blob_hash]],
      ),
    );
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

  /** Of what the key holds by now; `undefined` when it is absent. */
  digestOf(key: string): Buffer | undefined {
    return this.#digests.get(key);
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
    const replaced = this.#digests.get(operation.key);
    if (replaced !== undefined) this.#sum.toggle(replaced);
    this.#digests.delete(operation.key);
    this.replacedHashes.push(this.#hashes.get(operation.key) ?? null);
    this.#hashes.delete(operation.key);
    if (operation.kind === "delete") return;
    const { value } = operation;
    if (value.kind === "blob") this.#hashes.set(operation.key, Buffer.from(value.hash, "hex"));
    const digest = entryDigest(bytes);
    this.#sum.toggle(digest);
    this.#digests.set(operation.key, digest);
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
  text: `INSERT INTO log (namespace_id, revision, digest, operation, replaced_hash)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[])`,
};
const PUT_ENTRIES: Statement = {
  name: "put_entries",
  text: `INSERT INTO entries
      (namespace_id, key, digest, expires_at, metadata, blob_hash, blob_size, value)
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bytea[],
      $6::bytea[], $7::bigint[], $8::bytea[])
    ON CONFLICT (namespace_id, key) DO UPDATE SET digest = excluded.digest,
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
  const rows = additions.flatMap(({ id, records, encoded, replacedHashes }) =>
    records.map(({ revision, digest }, index) => ({
      replacedHash: replacedHashes[index] ?? null,
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
        byteaArray(chunk.map(({ replacedHash }) => replacedHash)),
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
      digest: addition.digestOf(operation.key) ?? null,
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

/** Key, digest, expiry, metadata, hash, size and value, each as an array of all rows. */
function columnsOf(
  rows: ReadonlyArray<{ readonly operation: Put; readonly digest: Buffer | null }>,
): ReadonlyArray<unknown> {
  const operations = rows.map(({ operation }) => operation);
  const blobs = operations.map(({ value }) => (value.kind === "blob" ? value : undefined));
  return [
    byteaArray(operations.map(({ key }) => Buffer.from(key, "utf8"))),
    byteaArray(rows.map(({ digest }) => digest)),
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
