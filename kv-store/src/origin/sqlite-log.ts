import type { Database, Statement } from "better-sqlite3";
import type { Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { HistoryPoint, type Revision, type StateDigest } from "../names.ts";
import { decodeKey, decodeOperations } from "../record-codec.ts";
import { standingOf, type EarlierEntry, type LinkedRecord } from "./administration.ts";
import { nextLogStart } from "./log-horizon.ts";
import { REPLACED_COLUMNS } from "./replaced-columns.ts";
import { openSealed } from "./sealed-entry.ts";
import { contentOf, type ContentRow, type NamespaceRow } from "./sqlite-tables.ts";

interface EarlierRow extends ContentRow {
  readonly replaced_digest: Buffer | null;
  readonly now_digest: Buffer | null;
}

/** With the columns of the entry that was replaced. */
interface LinkRow extends ContentRow {
  readonly revision: number;
  readonly digest: string;
  readonly operation: Buffer;
  readonly replaced_digest: Buffer | null;
}

interface CommitRow {
  readonly digest: StateDigest;
  readonly at_ms: number;
}

/** What the log says of the past, and how it is cut. Each call is part of the caller's transaction. */
export class SqliteLog {
  readonly #commit: Statement<[number, number], CommitRow>;
  readonly #earlier: Statement<
    [{ readonly id: number; readonly after: Buffer; readonly at: number; readonly rows: number }],
    EarlierRow
  >;
  readonly #links: Statement<[number, number], LinkRow>;
  readonly #aged: Statement<[number, number], NamespaceRow>;
  readonly #lastAged: Statement<[number, number, number, number], number>;
  readonly #trim: Statement<[number, number], { bytes: number }>;

  constructor(database: Database) {
    this.#commit = database.prepare(
      "SELECT digest, at_ms FROM log WHERE namespace_id = ? AND revision = ?",
    );
    // CROSS: each key's first record is found, and then its row; the other way round reads all rows for each.
    this.#earlier = database.prepare(
      `SELECT log.key, ${REPLACED_COLUMNS}, entries.digest AS now_digest
       FROM (
         SELECT key, min(revision) AS revision FROM log
         WHERE namespace_id = @id AND key > @after AND revision > @at GROUP BY key ORDER BY key LIMIT @rows
       ) AS first
       CROSS JOIN log ON log.namespace_id = @id AND log.revision = first.revision
       LEFT JOIN entries ON entries.namespace_id = @id AND entries.key = log.key
       ORDER BY first.key`,
    );
    this.#links = database.prepare(
      `SELECT revision, digest, operation, key, ${REPLACED_COLUMNS} FROM log
       WHERE namespace_id = ? AND revision > ? ORDER BY revision`,
    );
    this.#aged = database.prepare(
      `SELECT namespaces.* FROM namespaces
       JOIN log ON log.namespace_id = namespaces.id AND log.revision = log_start + 1
       WHERE at_ms <= ? AND namespaces.id > ? ORDER BY namespaces.id LIMIT 1`,
    );
    this.#lastAged = database
      .prepare<[number, number, number, number], number>(
        `SELECT max(revision) FROM (
           SELECT revision, at_ms FROM log WHERE namespace_id = ? AND revision > ?
           ORDER BY revision LIMIT ?
         ) WHERE at_ms <= ?`,
      )
      .pluck();
    this.#trim = database.prepare(
      `DELETE FROM log WHERE namespace_id = ? AND revision <= ?
       RETURNING length(operation) + coalesce(length(replaced_value), 0)
         + coalesce(octet_length(replaced_metadata), 0) AS bytes`,
    );
  }

  /** When a record was committed, in milliseconds since the epoch; `undefined` when the log lacks it. */
  commitMsOf(namespaceId: number, revision: number): number | undefined {
    return this.#commit.get(namespaceId, revision)?.at_ms;
  }

  /** See `KvAdministration.readEarlier`. */
  earlier(namespaceId: number, at: Revision, after: Key | null): EarlierEntry[] {
    const found: EarlierEntry[] = [];
    let bytes = 0;
    // No key is empty.
    const range = { id: namespaceId, after: Buffer.from(after ?? "", "utf8"), at };
    for (const row of this.#earlier.iterate({ ...range, rows: LIMITS.logPageRecordsMax })) {
      const { replaced_digest: digest } = row;
      const entry = digest === null ? undefined : openSealed(contentOf(row), digest);
      const now = standingOf(digest, row.now_digest);
      found.push({ key: decodeKey(row.key), entry, now });
      bytes += row.key.length + (row.metadata?.length ?? 0) + (row.value?.length ?? 0);
      if (bytes >= LIMITS.snapshotPageBytesMax) break;
    }
    return found;
  }

  /** See `KvAdministration.readLinks`. */
  links(namespaceId: number, after: Revision): LinkedRecord[] {
    const records: LinkedRecord[] = [];
    let bytes = 0;
    for (const row of this.#links.iterate(namespaceId, after)) {
      const [operation] = decodeOperations(row.operation, 1);
      if (operation === undefined) throw new Error(`log record ${row.revision} is empty`);
      const replaced = row.replaced_digest ?? undefined;
      if (replaced !== undefined) openSealed(contentOf(row), replaced);
      records.push({ ...HistoryPoint.parse(row), operation, replaced });
      bytes += row.operation.length;
      if (records.length >= LIMITS.logPageRecordsMax || bytes >= LIMITS.logPageBytesMax) break;
    }
    return records;
  }

  /** Drops the oldest records of a log that is too large, after `added` new ones. Moves `row` on. */
  trimSize(row: NamespaceRow, bounds: { readonly added: number; readonly bytesMax: number }): void {
    const start = nextLogStart(row, bounds);
    if (start !== undefined) this.#trimTo(row, start);
  }

  /** The first namespace behind the row `afterId` whose log has records of this time or before. */
  nextAged(atMs: number, afterId: number): NamespaceRow | undefined {
    return this.#aged.get(atMs, afterId);
  }

  /** Drops some of the records of this time and before; false when none is left. Moves `row` on. */
  trimAged(row: NamespaceRow, atMs: number): boolean {
    const start = this.#lastAged.get(row.id, row.log_start, LIMITS.sweepRowsMax, atMs);
    if (start == null) return false; // `max` of nothing
    const isFull = start - row.log_start === LIMITS.sweepRowsMax;
    this.#trimTo(row, start);
    return isFull;
  }

  #trimTo(row: NamespaceRow, start: number): void {
    const commit = this.#commit.get(row.id, start);
    if (commit === undefined) throw new Error(`the log has no record ${start}`);
    row.log_start = start;
    row.log_start_digest = commit.digest;
    row.log_start_ms = commit.at_ms;
    for (const { bytes } of this.#trim.iterate(row.id, start)) row.log_bytes -= bytes;
  }
}
