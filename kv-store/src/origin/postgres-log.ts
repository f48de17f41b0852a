import type { Clock } from "../clock.ts";
import type { Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { HistoryPoint, type NamespaceId, type Revision } from "../names.ts";
import { decodeKey } from "../record-codec.ts";
import {
  standingOf,
  type EarlierEntry,
  type LinkedRecord,
  type NamespaceExtent,
} from "./administration.ts";
import type { PostgresConnections, RunStatement, Statement } from "./postgres-connections.ts";
import { TRIM_LOG } from "./postgres-history.ts";
import { digestOf, contentOf, recordOf, type ContentRow, type LogRow } from "./postgres-tables.ts";
import { REPLACED_COLUMNS } from "./replaced-columns.ts";

interface ExtentRow {
  readonly id: number;
  readonly revision: number;
  readonly digest: Buffer;
  readonly keys: number;
  readonly bytes: number;
  readonly log_start: number;
  readonly log_start_digest: Buffer;
  readonly log_start_ms: number;
  readonly log_bytes: number;
}

interface EarlierRow extends Omit<ContentRow, "key" | "digest"> {
  /** Null where there is no such row. */
  readonly key: Buffer | null;
  readonly replaced_digest: Buffer | null;
  readonly now_digest: Buffer | null;
  readonly log_start: number;
}

/** With the columns of the entry that was replaced, as far as they are noted. */
type LinkRow = (LogRow | { readonly revision: null }) &
  Omit<ContentRow, "digest"> & {
    readonly replaced_digest: Buffer | null;
    readonly log_start: number;
  };

/** Rows of a page, and where the log began when they were read. */
export interface LogRead<Row> {
  readonly logStart: number;
  readonly rows: ReadonlyArray<Row>;
}

const EXTENT: Statement = {
  name: "extent",
  text: "SELECT * FROM namespaces WHERE namespace = $1",
};
const COMMIT_MS: Statement = {
  name: "commit_ms",
  text: `SELECT at_ms FROM log JOIN namespaces ON id = namespace_id
    WHERE namespace = $1 AND log.revision = $2`,
};
// As for entries: a page ends after the row that crosses its bound, which the database finds.
const EARLIER: Statement = {
  name: "earlier",
  text: `SELECT log_start, page.* FROM namespaces LEFT JOIN LATERAL (
      SELECT * FROM (
        SELECT *, sum(octet_length(key) + coalesce(octet_length(metadata), 0) + coalesce(octet_length(value), 0))
          OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
        FROM (
          SELECT log.key, ${REPLACED_COLUMNS}, entries.digest AS now_digest
          FROM (
            SELECT key, min(revision) AS revision FROM log
            WHERE namespace_id = id AND key > $2 AND revision > $3
            GROUP BY key ORDER BY key LIMIT ${LIMITS.logPageRecordsMax}
          ) AS first
          JOIN log ON log.namespace_id = id AND log.revision = first.revision
          LEFT JOIN entries ON entries.namespace_id = id AND entries.key = log.key
        ) AS next
      ) AS sized WHERE coalesce(bytes_before, 0) < ${LIMITS.snapshotPageBytesMax}
    ) AS page ON true WHERE namespace = $1 ORDER BY page.key`,
};
const LINKS: Statement = {
  name: "links",
  text: `SELECT log_start, page.* FROM namespaces LEFT JOIN LATERAL (
      SELECT * FROM (
        SELECT *, sum(octet_length(operation))
          OVER (ORDER BY revision ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
        FROM (
          SELECT revision, digest, operation, key, ${REPLACED_COLUMNS} FROM log
          WHERE namespace_id = id AND revision > $2 ORDER BY revision LIMIT ${LIMITS.logPageRecordsMax}
        ) AS next
      ) AS sized WHERE coalesce(bytes_before, 0) < ${LIMITS.logPageBytesMax}
    ) AS page ON true WHERE namespace = $1 ORDER BY page.revision`,
};
const NEXT_AGED: Statement = {
  name: "next_aged",
  text: `SELECT id FROM namespaces JOIN log ON namespace_id = id AND log.revision = log_start + 1
    LEFT JOIN log_holds ON log_holds.namespace_id = id
    WHERE at_ms <= $1 AND id > $2 AND coalesce(until_ms, 0) <= $3 ORDER BY id LIMIT 1`,
};
const LAST_AGED: Statement = {
  name: "last_aged",
  text: `SELECT max(revision) AS start, count(*) AS looked_at FROM (
      SELECT log.revision, at_ms FROM log JOIN namespaces ON id = namespace_id
      WHERE id = $1 AND log.revision > log_start ORDER BY log.revision LIMIT ${LIMITS.sweepRowsMax}
    ) AS oldest WHERE at_ms <= $2`,
};
const LOCK_ONE: Statement = {
  name: "lock_one",
  text: "SELECT id FROM namespaces WHERE id = $1 FOR UPDATE SKIP LOCKED",
};

/** What the logs say of the past, each read of one moment, and how they are cut by their age. */
export class PostgresLog {
  readonly #connections: PostgresConnections;
  readonly #clock: Clock;
  readonly #ageMs: number;
  /** When records were last looked at for their age, by the monotonic clock. */
  #agedMs = -Infinity;

  constructor(options: {
    readonly connections: PostgresConnections;
    readonly clock: Clock;
    readonly ageMs: number;
  }) {
    this.#connections = options.connections;
    this.#clock = options.clock;
    this.#ageMs = options.ageMs;
  }

  /** `undefined` for a namespace that does not exist, as for the other reads. */
  async extent(namespace: NamespaceId): Promise<NamespaceExtent | undefined> {
    const [row] = await this.#connections.run<ExtentRow>(EXTENT, [namespace]);
    if (row === undefined) return undefined;
    const { revision, keys, bytes, log_start, log_start_digest } = row;
    const start = { revision: log_start, digest: digestOf(log_start_digest) };
    return {
      ...HistoryPoint.parse({ revision, digest: digestOf(row.digest) }),
      ...{ keys, bytes },
      log: {
        records: revision - log_start,
        bytes: row.log_bytes,
        start: HistoryPoint.parse(start),
        startMs: row.log_start_ms,
      },
    };
  }

  /** When a record was committed; `undefined` when the log lacks it. */
  async commitMsOf(namespace: NamespaceId, revision: number): Promise<number | undefined> {
    const [row] = await this.#connections.run<{ at_ms: number }>(COMMIT_MS, [namespace, revision]);
    return row?.at_ms;
  }

  async earlier(
    namespace: NamespaceId,
    at: Revision,
    after: Key | null,
  ): Promise<LogRead<EarlierEntry> | undefined> {
    // No key is empty.
    const from = Buffer.from(after ?? "", "utf8");
    const rows = await this.#connections.run<EarlierRow>(EARLIER, [namespace, from, at]);
    return logRead(rows, ({ key, replaced_digest: digest, now_digest, ...row }) => {
      if (key === null) return [];
      const entry = digest === null ? undefined : contentOf({ ...row, key, digest });
      return [{ key: decodeKey(key), entry, now: standingOf(digest, now_digest) }];
    });
  }

  async links(namespace: NamespaceId, after: Revision): Promise<LogRead<LinkedRecord> | undefined> {
    const rows = await this.#connections.run<LinkRow>(LINKS, [namespace, after]);
    return logRead(rows, (row) => {
      if (row.revision === null) return [];
      const { replaced_digest: digest } = row;
      // Of a key's later operations of a transaction only the digest is noted.
      const isNoted = row.value !== null || row.blob_size !== null;
      if (digest !== null && isNoted) contentOf({ ...row, digest });
      return [{ ...recordOf(row), replaced: digest ?? undefined }];
    });
  }

  /** Drops what is older than the horizon, some rows at a time. Others may do so at the same time. */
  async trimAged(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#agedMs < LIMITS.logAgeCheckMs) return;
    this.#agedMs = nowMs;
    const atMs = this.#clock.nowMs() - this.#ageMs;
    for (let id = 0; ;) {
      const values = [atMs, id, this.#clock.nowMs()];
      const [aged] = await this.#connections.run<{ id: number }>(NEXT_AGED, values);
      if (aged === undefined) return;
      const goesOn = await this.#connections.transaction((run) => planTrim(run, aged.id, atMs));
      if (!goesOn) ({ id } = aged);
    }
  }
}

/** Cuts some records; says whether there are more. A namespace that is being written to has its turn later. */
async function planTrim(run: RunStatement, id: number, atMs: number) {
  const locked = await run<{ id: number }>(LOCK_ONE, [id]);
  if (locked.length === 0) return { changes: [], result: false };
  const [last] = await run<{ start: number | null; looked_at: number }>(LAST_AGED, [id, atMs]);
  if (last?.start == null) return { changes: [], result: false };
  const changes = [{ statement: TRIM_LOG, values: [id, last.start] }];
  return { changes, result: last.looked_at === LIMITS.sweepRowsMax };
}

function logRead<Row extends { readonly log_start: number }, Result>(
  rows: ReadonlyArray<Row>,
  read: (row: Row) => ReadonlyArray<Result>,
): LogRead<Result> | undefined {
  const [first] = rows;
  if (first === undefined) return undefined;
  return { logStart: first.log_start, rows: rows.flatMap(read) };
}
