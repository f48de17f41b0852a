import type { Database, Statement } from "better-sqlite3";
import type { KeyRange } from "../cursor.ts";
import type { Key, KvEntry, KvListing, KvOperation, KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { HistoryPoint, NamespaceId, Revision, type StateDigest } from "../names.ts";
import { decodeKey, decodeOperations, encodeOperation } from "../record-codec.ts";
import { entryDigest, type StateSum } from "../state-digest.ts";
import { sizeOf } from "./quota.ts";
import { openSealed } from "./sealed-entry.ts";

/** A namespace's own row: a copy, changed here and stored by `saveNamespace`. */
export interface NamespaceRow {
  readonly id: number;
  readonly namespace: string;
  revision: number;
  /** Of the state as of `revision`. */
  digest: StateDigest;
  log_start: number;
  /** Of the state as of `log_start`. */
  log_start_digest: StateDigest;
  log_bytes: number;
  readonly account: string | null;
  /** Of the state as of `revision`; see `KvSize`. */
  keys: number;
  bytes: number;
  /** When its last record was committed, in milliseconds since the epoch: no later one is dated earlier. */
  written_ms: number;
  /** When `log_start` was. */
  log_start_ms: number;
  /** When a restore last wrote to it. */
  rewritten_ms: number;
}

/** A namespace that operations are appended to, and the sum behind its row's digest. */
export interface GrowingNamespace {
  readonly row: NamespaceRow;
  readonly sum: StateSum;
}

/** An entry's row. Large columns are absent from listings. */
export interface EntryRow {
  readonly key: Buffer;
  /** Of the write that put it. */
  readonly revision: number;
  readonly expires_at: number | null;
  readonly metadata: string | null;
  readonly blob_hash: string | null;
  readonly blob_size: number | null;
  readonly value: Buffer | null;
}
export type ContentRow = Omit<EntryRow, "revision">;
type ListingRow = Pick<EntryRow, "key" | "expires_at" | "metadata">;
/** A row with the digest that its entry had when it was written. */
type SealedRow = EntryRow & { readonly digest: Buffer };

/** What is there of a key that is written to. */
interface ReplacedRow {
  /** Its row's, which finds it without a look at the keys. */
  readonly id: number;
  readonly digest: Buffer;
  /** As `sizeOf` counts them. */
  readonly bytes: number;
  /** What it takes in the log. */
  readonly logged: number;
}

interface RecordRow {
  readonly revision: number;
  readonly digest: string;
  readonly operation: Buffer;
}

// Of what each write runs, parameters are given by their place: looking names up costs as much as SQLite's own work.

/** A record that is added to the log. */
type AddedRow = [
  namespaceId: number,
  revision: number,
  atMs: number,
  digest: string,
  key: Buffer,
  operation: Buffer,
];
/** What an entry holds. */
type PutRow = [
  digest: Buffer,
  revision: number,
  expiresAt: number | null,
  metadata: string | null,
  blobHash: string | null,
  blobSize: number | null,
  value: Uint8Array | null,
];

interface DueRow {
  readonly namespace: string;
  readonly key: Buffer;
}

const ENTRY_COLUMNS = "key, digest, revision, expires_at, metadata, blob_hash, blob_size, value";

/** The statements of the origin's tables, prepared once. Each call is part of the caller's transaction. */
export class SqliteTables {
  readonly #namespace: Statement<[string], NamespaceRow>;
  readonly #saveNamespace: Statement<[NamespaceRow]>;
  readonly #addNamespace: Statement<[string, number, number]>;
  readonly #markRemoved: Statement<[string]>;
  readonly #removeNamespace: Statement<[string]>;
  readonly #removed: Statement<[], { id: number }>;
  readonly #forgetRemoved: Statement<[number]>;
  readonly #entry: Statement<[number, Buffer], SealedRow>;
  readonly #replaced: Statement<[number, Buffer], ReplacedRow>;
  readonly #entryRevision: Statement<[number, Buffer, number], number>;
  readonly #entries: Statement<[number, Buffer], SealedRow>;
  readonly #listing: Statement<[number, Buffer, Buffer, number, number], ListingRow>;
  readonly #addEntry: Statement<[namespaceId: number, key: Buffer, ...PutRow]>;
  readonly #replaceEntry: Statement<[...PutRow, id: number]>;
  readonly #deleteEntry: Statement<[id: number]>;
  readonly #expiredUpTo: Statement<[], number>;
  readonly #saveExpiredUpTo: Statement<[number, number]>;
  readonly #due: Statement<[number, number], DueRow>;
  readonly #addRecord: Statement<AddedRow>;
  readonly #addReplacingRecord: Statement<[...AddedRow, replacedId: number]>;
  readonly #records: Statement<[number, number], RecordRow>;
  readonly #recordDigest: Statement<[number, number], StateDigest>;
  readonly #sweep: ReadonlyArray<Statement<[number, number]>>;

  constructor(database: Database) {
    this.#namespace = database.prepare("SELECT * FROM namespaces WHERE namespace = ?");
    this.#saveNamespace = database.prepare(
      `UPDATE namespaces SET revision = @revision, digest = @digest, log_start = @log_start,
       log_start_digest = @log_start_digest, log_bytes = @log_bytes, keys = @keys, bytes = @bytes,
       written_ms = @written_ms, log_start_ms = @log_start_ms, rewritten_ms = @rewritten_ms WHERE id = @id`,
    );
    this.#addNamespace = database.prepare(
      `INSERT INTO namespaces (namespace, written_ms, log_start_ms) VALUES (?, ?, ?)
       ON CONFLICT (namespace) DO NOTHING`,
    );
    this.#markRemoved = database.prepare(
      "INSERT INTO removed_namespaces (id) SELECT id FROM namespaces WHERE namespace = ?",
    );
    this.#removed = database.prepare("SELECT id FROM removed_namespaces LIMIT 1");
    this.#forgetRemoved = database.prepare("DELETE FROM removed_namespaces WHERE id = ?");
    this.#removeNamespace = database.prepare("DELETE FROM namespaces WHERE namespace = ?");
    this.#entry = database.prepare(
      `SELECT ${ENTRY_COLUMNS} FROM entries WHERE namespace_id = ? AND key = ?`,
    );
    // Lengths are in a row's head: nothing of a large value is read for them.
    this.#replaced = database.prepare(
      `SELECT id, digest,
         length(key) + coalesce(octet_length(metadata), 0) + coalesce(blob_size, length(value), 0) AS bytes,
         coalesce(length(value), 0) + coalesce(octet_length(metadata), 0) AS logged
       FROM entries WHERE namespace_id = ? AND key = ?`,
    );
    this.#entryRevision = database
      .prepare<[number, Buffer, number], number>(
        `SELECT revision FROM entries WHERE namespace_id = ? AND key = ?
         AND (expires_at IS NULL OR expires_at > ?)`,
      )
      .pluck();
    this.#entries = database.prepare(
      `SELECT ${ENTRY_COLUMNS} FROM entries WHERE namespace_id = ? AND key > ? ORDER BY key`,
    );
    this.#listing = database.prepare(
      `SELECT key, expires_at, metadata FROM entries
       WHERE namespace_id = ? AND key >= ? AND key < ? AND (expires_at IS NULL OR expires_at > ?)
       ORDER BY key LIMIT ?`,
    );
    this.#addEntry = database.prepare(
      `INSERT INTO entries (namespace_id, ${ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#replaceEntry = database.prepare(
      `UPDATE entries SET digest = ?, revision = ?, expires_at = ?, metadata = ?, blob_hash = ?, blob_size = ?,
         value = ? WHERE id = ?`,
    );
    this.#deleteEntry = database.prepare("DELETE FROM entries WHERE id = ?");
    this.#expiredUpTo = database.prepare<[], number>("SELECT seconds FROM expiry").pluck();
    // Where nothing expires there is nothing to remember.
    this.#saveExpiredUpTo = database.prepare(
      `UPDATE expiry SET seconds = ? WHERE seconds < ?
       AND EXISTS (SELECT 1 FROM entries WHERE expires_at IS NOT NULL)`,
    );
    this.#due = database.prepare(
      `SELECT namespace, key FROM entries JOIN namespaces ON namespaces.id = namespace_id
       WHERE expires_at <= ? ORDER BY expires_at LIMIT ?`,
    );
    this.#addRecord = database.prepare(
      `INSERT INTO log (namespace_id, revision, at_ms, digest, key, operation)
       VALUES (?, ?, ?, ?, ?, ?)`,
    );
    // What is replaced goes from table to table, without a stay here.
    this.#addReplacingRecord = database.prepare(
      `INSERT INTO log (namespace_id, revision, at_ms, digest, key, operation, replaced_digest,
         replaced_expires_at, replaced_metadata, replaced_hash, replaced_size, replaced_value)
       SELECT ?, ?, ?, ?, ?, ?, digest, expires_at, metadata, blob_hash, blob_size, value
       FROM entries WHERE id = ?`,
    );
    this.#records = database.prepare(
      `SELECT revision, digest, operation FROM log
       WHERE namespace_id = ? AND revision > ? ORDER BY revision`,
    );
    this.#recordDigest = database
      .prepare<[number, number], StateDigest>(
        "SELECT digest FROM log WHERE namespace_id = ? AND revision = ?",
      )
      .pluck();
    this.#sweep = ["entries", "log"].map((table) =>
      database.prepare<[number, number]>(
        `DELETE FROM ${table} WHERE id IN
         (SELECT id FROM ${table} WHERE namespace_id = ? LIMIT ?)`,
      ),
    );
  }

  namespace(namespace: NamespaceId): NamespaceRow | undefined {
    return this.#namespace.get(namespace);
  }

  addNamespace(namespace: NamespaceId, nowMs: number): void {
    this.#addNamespace.run(namespace, nowMs, nowMs);
  }

  /** Removes the row by which the namespace is found, and leaves the others to `sweepRemoved`. */
  removeNamespace(namespace: NamespaceId): void {
    this.#markRemoved.run(namespace);
    this.#removeNamespace.run(namespace);
  }

  saveNamespace(row: NamespaceRow): void {
    this.#saveNamespace.run(row);
  }

  /** Removes some rows of a namespace that is gone; false when there is nothing left to remove. */
  sweepRemoved(rowsMax: number): boolean {
    const removed = this.#removed.get();
    if (removed === undefined) return false;
    const isSwept = this.#sweep.every((sweep) => sweep.run(removed.id, rowsMax).changes < rowsMax);
    if (isSwept) this.#forgetRemoved.run(removed.id);
    return true;
  }

  entry(namespaceId: number, key: string): KvEntry | undefined {
    const row = this.#entry.get(namespaceId, Buffer.from(key, "utf8"));
    return row === undefined ? undefined : openSealed(entryOf(row), row.digest);
  }

  /** Of the write that put what the key holds; 0 when it is absent, or has expired. */
  liveRevision(namespaceId: number, key: Key, nowSeconds: number): Revision {
    const bytes = Buffer.from(key, "utf8");
    return Revision.parse(this.#entryRevision.get(namespaceId, bytes, nowSeconds) ?? 0);
  }

  /** Entries behind a key, or from the first one, ascending, up to the limits of a page. */
  entries(namespaceId: number, after: Key | null): KvEntry[] {
    const entries: KvEntry[] = [];
    let bytes = 0;
    // No key is empty.
    for (const row of this.#entries.iterate(namespaceId, Buffer.from(after ?? "", "utf8"))) {
      entries.push(openSealed(entryOf(row), row.digest));
      bytes += row.key.length + (row.metadata?.length ?? 0) + (row.value?.length ?? 0);
      if (bytes >= LIMITS.snapshotPageBytesMax || entries.length >= LIMITS.logPageRecordsMax) break;
    }
    return entries;
  }

  /** Live entries of the range, ascending. */
  listing(
    namespaceId: number,
    range: KeyRange,
    bounds: { readonly nowSeconds: number; readonly rowsMax: number },
  ): KvListing[] {
    const { nowSeconds, rowsMax } = bounds;
    return this.#listing
      .all(namespaceId, range.start, range.end, nowSeconds, rowsMax)
      .map(listingOf);
  }

  /** What was saved last, in seconds since the epoch; 0 before the first time. */
  expiredUpTo(): number {
    return this.#expiredUpTo.get() ?? 0;
  }

  saveExpiredUpTo(seconds: number): void {
    this.#saveExpiredUpTo.run(seconds, seconds);
  }

  /** Keys that have expired by `nowSeconds`, the longest expired first. */
  due(nowSeconds: number, rowsMax: number): Map<NamespaceId, KvOperation[]> {
    const operations = new Map<NamespaceId, KvOperation[]>();
    for (const row of this.#due.all(nowSeconds, rowsMax)) {
      const namespace = NamespaceId.parse(row.namespace);
      const list = operations.get(namespace) ?? [];
      list.push({ kind: "delete", key: decodeKey(row.key) });
      operations.set(namespace, list);
    }
    return operations;
  }

  /** What the entry of a key has, as `sizeOf` counts it; `undefined` for no key. */
  bytesAt(namespaceId: number, key: string): number | undefined {
    return this.#replaced.get(namespaceId, Buffer.from(key, "utf8"))?.bytes;
  }

  /** Appends the operation to the history of the namespace, which it moves on. */
  append({ row, sum }: GrowingNamespace, operation: KvOperation, nowMs: number): KvRecord {
    const bytes = encodeOperation(operation);
    const key = Buffer.from(operation.key, "utf8");
    const revision = (row.revision + 1) as Revision; // the one behind it
    const replaced = this.#replaced.get(row.id, key);
    const digest = operation.kind === "put" ? entryDigest(bytes) : undefined;
    if (replaced !== undefined) sum.toggle(replaced.digest);
    if (digest !== undefined) sum.toggle(digest);
    row.revision = revision;
    row.digest = sum.digest;
    // A clock that was set back dates nothing before what was committed already.
    row.written_ms = Math.max(row.written_ms, nowMs);
    row.log_bytes += bytes.length + (replaced?.logged ?? 0);
    row.keys += Number(digest !== undefined) - Number(replaced !== undefined);
    row.bytes += (operation.kind === "put" ? sizeOf(operation) : 0) - (replaced?.bytes ?? 0);
    // Before the entry changes.
    const record: AddedRow = [row.id, revision, row.written_ms, row.digest, key, bytes];
    if (replaced === undefined) this.#addRecord.run(...record);
    else this.#addReplacingRecord.run(...record, replaced.id);
    if (operation.kind === "put" && digest !== undefined) {
      const { expiresAt = null, metadata = null, value } = operation;
      const [hash, size] = value.kind === "blob" ? [value.hash, value.size] : [null, null];
      const content = value.kind === "inline" ? value.bytes : null;
      const put: PutRow = [digest, revision, expiresAt, metadata, hash, size, content];
      if (replaced === undefined) this.#addEntry.run(row.id, key, ...put);
      else this.#replaceEntry.run(...put, replaced.id);
    } else if (replaced !== undefined) {
      this.#deleteEntry.run(replaced.id);
    }
    return { revision, digest: row.digest, operation };
  }

  /** The digest of the state as of a revision; `undefined` when the log does not know of it. */
  digestAt(row: NamespaceRow, revision: number): StateDigest | undefined {
    if (revision === row.revision) return row.digest;
    if (revision === row.log_start) return row.log_start_digest;
    return this.#recordDigest.get(row.id, revision);
  }

  /** Records after `after`, ascending, up to the limits of a page. */
  records(namespaceId: number, after: Revision): KvRecord[] {
    const records: KvRecord[] = [];
    let bytes = 0;
    for (const row of this.#records.iterate(namespaceId, after)) {
      const [operation] = decodeOperations(row.operation, 1);
      if (operation === undefined) throw new Error(`log record ${row.revision} is empty`);
      records.push({ ...HistoryPoint.parse(row), operation });
      bytes += row.operation.length;
      if (records.length >= LIMITS.logPageRecordsMax || bytes >= LIMITS.logPageBytesMax) break;
    }
    return records;
  }
}

/** The entry of a complete row. */
export function entryOf(row: EntryRow): KvEntry {
  return { ...contentOf(row), revision: Revision.parse(row.revision) };
}

/** The entry of a row that does not say which write put it. */
export function contentOf(row: ContentRow): KvEntry {
  const value: KvEntry["value"] =
    row.blob_hash === null
      ? { kind: "inline", bytes: row.value ?? Buffer.alloc(0) }
      : { kind: "blob", hash: row.blob_hash, size: row.blob_size ?? 0 };
  return { ...listingOf(row), value };
}

function listingOf(row: ListingRow): KvListing {
  return {
    key: decodeKey(row.key),
    ...(row.metadata === null ? {} : { metadata: row.metadata }),
    ...(row.expires_at === null ? {} : { expiresAt: row.expires_at }),
  };
}
