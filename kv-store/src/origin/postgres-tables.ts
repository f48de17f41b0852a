import type { KeyRange } from "../cursor.ts";
import type { Key, KvEntry, KvListing, KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision, StateDigest, type HistoryPoint } from "../names.ts";
import { decodeKey, decodeOperations } from "../record-codec.ts";
import type { EntriesPage } from "./origin.ts";
import type { PostgresConnections, Statement } from "./postgres-connections.ts";
import { openSealed } from "./sealed-entry.ts";

interface EntryRow {
  readonly key: Buffer;
  /** Of the entry when it was written. */
  readonly digest: Buffer;
  /** Of the write that put it. */
  readonly revision: number;
  readonly expires_at: number | null;
  readonly metadata: Buffer | null;
  readonly blob_hash: Buffer | null;
  readonly blob_size: number | null;
  readonly value: Buffer | null;
}
export type ContentRow = Omit<EntryRow, "revision">;
type ListingRow = Pick<EntryRow, "key" | "expires_at" | "metadata">;
/** The side of an outer join on which there may be no row. */
type Absent<Row> = { readonly [Column in keyof Row]: null };

export interface LogRow {
  readonly revision: number;
  readonly digest: Buffer;
  readonly operation: Buffer;
}

interface HeadRow {
  readonly head: number;
  readonly head_digest: Buffer;
}

interface ExtentRow extends HeadRow {
  readonly keys: number;
  readonly log_start: number;
  readonly after_digest: Buffer | null;
  readonly until_ms: number | null;
}

/** Records after a revision, and where it is in the history. */
export interface RecordsRead {
  readonly head: HistoryPoint;
  /** How many the namespace has. */
  readonly keys: number;
  /** The log has the records after this revision. */
  readonly logStart: number;
  /** Of the state as of the revision after which was read; `undefined` when the log does not know of it. */
  readonly digestAfter: StateDigest | undefined;
  /** Until when the log is held, in milliseconds since the epoch; null when it is not. */
  readonly heldUntilMs: number | null;
  readonly records: ReadonlyArray<KvRecord>;
}

export interface DueKey {
  readonly namespace: NamespaceId;
  readonly key: Key;
}

const ENTRY_COLUMNS = "key, digest, revision, expires_at, metadata, blob_hash, blob_size, value";

// Each reads the namespace and what is asked for in one statement, so both are of one moment. A namespace
// that exists gives at least one row.
const ENTRY: Statement = {
  name: "entry",
  text: `SELECT entries.* FROM namespaces
    LEFT JOIN entries ON namespace_id = id AND key = $2 WHERE namespace = $1`,
};
const LISTING: Statement = {
  name: "listing",
  text: `SELECT key, expires_at, metadata FROM namespaces LEFT JOIN LATERAL (
      SELECT key, expires_at, metadata FROM entries
      WHERE namespace_id = id AND key >= $2 AND key < $3 AND (expires_at IS NULL OR expires_at > $4)
      ORDER BY key LIMIT $5
    ) AS found ON true WHERE namespace = $1 ORDER BY key`,
};
// The sums are of the rows before: a page ends after the row that crosses its bound. The size of a value
// is known without reading it.
const PAGE: Statement = {
  name: "page",
  text: `SELECT namespaces.revision AS head, namespaces.digest AS head_digest, page.* FROM namespaces LEFT JOIN LATERAL (
      SELECT * FROM (
        SELECT *, sum(octet_length(key) + coalesce(octet_length(metadata), 0) + coalesce(octet_length(value), 0))
          OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
        FROM (
          SELECT ${ENTRY_COLUMNS} FROM entries WHERE namespace_id = id AND key > $2
          ORDER BY key LIMIT ${LIMITS.logPageRecordsMax}
        ) AS next
      ) AS sized WHERE coalesce(bytes_before, 0) < ${LIMITS.snapshotPageBytesMax}
    ) AS page ON true WHERE namespace = $1 ORDER BY key`,
};
const RECORDS: Statement = {
  name: "records",
  text: `SELECT namespaces.revision AS head, namespaces.digest AS head_digest, keys, log_start, until_ms,
      CASE $2
        WHEN namespaces.revision THEN namespaces.digest
        WHEN log_start THEN log_start_digest
        ELSE (SELECT digest FROM log WHERE namespace_id = id AND revision = $2)
      END AS after_digest,
      page.*
    FROM namespaces
    LEFT JOIN log_holds ON log_holds.namespace_id = id
    LEFT JOIN LATERAL (
      SELECT * FROM (
        SELECT *, sum(octet_length(operation))
          OVER (ORDER BY revision ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
        FROM (
          SELECT revision, digest, operation FROM log WHERE namespace_id = id AND revision > $2
          ORDER BY revision LIMIT ${LIMITS.logPageRecordsMax}
        ) AS next
      ) AS sized WHERE coalesce(bytes_before, 0) < ${LIMITS.logPageBytesMax}
    ) AS page ON true WHERE namespace = $1 ORDER BY page.revision`,
};
const POINTS: Statement = {
  name: "points",
  text: `SELECT namespace, revision AS head, digest AS head_digest FROM namespaces
    WHERE namespace = ANY($1)`,
};
const DUE: Statement = {
  name: "due",
  text: `SELECT namespace, key FROM entries JOIN namespaces ON id = namespace_id
    WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2`,
};

// A row that is not changed is not written.
const REACH_EXPIRY: Statement = {
  name: "reach_expiry",
  text: `WITH reached AS (UPDATE expiry SET seconds = $1 WHERE seconds < $1)
    SELECT greatest(seconds, $1) AS seconds FROM expiry`,
};

/** Reads of the origin's tables, each of one moment. `undefined` where there is no such namespace. */
export class PostgresTables {
  readonly #connections: PostgresConnections;

  constructor(connections: PostgresConnections) {
    this.#connections = connections;
  }

  async entry(
    namespace: NamespaceId,
    key: string,
  ): Promise<{ readonly entry: KvEntry | undefined } | undefined> {
    const [row] = await this.#connections.run<EntryRow | Absent<EntryRow>>(ENTRY, [
      namespace,
      Buffer.from(key, "utf8"),
    ]);
    if (row === undefined) return undefined;
    return { entry: row.key === null ? undefined : entryOf(row) };
  }

  /** Live entries of the range, ascending. */
  async listing(
    namespace: NamespaceId,
    range: KeyRange,
    bounds: { readonly nowSeconds: number; readonly rowsMax: number },
  ): Promise<ReadonlyArray<KvListing> | undefined> {
    const { start, end } = range;
    const rows = await this.#connections.run<ListingRow | Absent<ListingRow>>(LISTING, [
      ...[namespace, start, end],
      ...[bounds.nowSeconds, bounds.rowsMax],
    ]);
    if (rows.length === 0) return undefined;
    return rows.flatMap((row) => (row.key === null ? [] : listingOf(row)));
  }

  /** Entries behind a key, or from the first one, ascending, up to the limits of a page. */
  async entries(namespace: NamespaceId, after: Key | null): Promise<EntriesPage | undefined> {
    type Row = HeadRow & (EntryRow | Absent<EntryRow>);
    // No key is empty.
    const from = Buffer.from(after ?? "", "utf8");
    const rows = await this.#connections.run<Row>(PAGE, [namespace, from]);
    const [first] = rows;
    if (first === undefined) return undefined;
    const entries = rows.flatMap((row) => (row.key === null ? [] : entryOf(row)));
    return { ...pointOf(first), entries };
  }

  /** Records after a revision, ascending, up to the limits of a page. */
  async records(namespace: NamespaceId, after: Revision): Promise<RecordsRead | undefined> {
    type Row = ExtentRow & (LogRow | Absent<LogRow>);
    const rows = await this.#connections.run<Row>(RECORDS, [namespace, after]);
    const [first] = rows;
    if (first === undefined) return undefined;
    return {
      head: pointOf(first),
      keys: first.keys,
      logStart: first.log_start,
      digestAfter: first.after_digest === null ? undefined : digestOf(first.after_digest),
      heldUntilMs: first.until_ms,
      records: rows.flatMap((row) => (row.revision === null ? [] : recordOf(row))),
    };
  }

  /** Where the history of each namespace stands that exists. */
  async points(namespaces: ReadonlyArray<NamespaceId>): Promise<ReadonlyMap<string, HistoryPoint>> {
    const rows = await this.#connections.run<HeadRow & { namespace: string }>(POINTS, [namespaces]);
    return new Map(rows.map((row) => [row.namespace, pointOf(row)]));
  }

  /** Notes up to where entries have expired, in seconds since the epoch; resolves with how far anybody has come. */
  async reachExpiry(seconds: number): Promise<number> {
    const [row] = await this.#connections.run<{ seconds: number }>(REACH_EXPIRY, [seconds]);
    return row?.seconds ?? seconds;
  }

  /** Keys that have expired by `nowSeconds`, the longest expired first. */
  async due(nowSeconds: number, rowsMax: number): Promise<ReadonlyArray<DueKey>> {
    const rows = await this.#connections.run<{ namespace: string; key: Buffer }>(DUE, [
      nowSeconds,
      rowsMax,
    ]);
    return rows.map((row) => ({
      namespace: NamespaceId.parse(row.namespace),
      key: decodeKey(row.key),
    }));
  }
}

/** Fails with `storage_failed` when the disk has changed it. */
function entryOf(row: EntryRow): KvEntry {
  return { ...contentOf(row), revision: Revision.parse(row.revision) };
}

/** The entry of a row that does not say which write put it. Fails as `entryOf` does. */
export function contentOf(row: ContentRow): KvEntry {
  const value: KvEntry["value"] =
    row.blob_hash === null
      ? { kind: "inline", bytes: row.value ?? Buffer.alloc(0) }
      : { kind: "blob", hash: row.blob_hash.toString("hex"), size: row.blob_size ?? 0 };
  return openSealed({ ...listingOf(row), value }, row.digest);
}

function listingOf(row: ListingRow): KvListing {
  return {
    key: decodeKey(row.key),
    ...(row.metadata === null ? {} : { metadata: row.metadata.toString("utf8") }),
    ...(row.expires_at === null ? {} : { expiresAt: row.expires_at }),
  };
}

export function recordOf(row: LogRow): KvRecord {
  const [operation] = decodeOperations(row.operation, 1);
  if (operation === undefined) throw new Error(`log record ${row.revision} is empty`);
  return { revision: Revision.parse(row.revision), digest: digestOf(row.digest), operation };
}

function pointOf(row: HeadRow): HistoryPoint {
  return { revision: Revision.parse(row.head), digest: digestOf(row.head_digest) };
}

export function digestOf(bytes: Buffer): StateDigest {
  return StateDigest.parse(bytes.toString("hex"));
}
