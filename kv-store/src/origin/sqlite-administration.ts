import type { Clock } from "../clock.ts";
import type { Key, KvOperation } from "../entry.ts";
import { HistoryPoint, Revision, type NamespaceId } from "../names.ts";
import type {
  AccountUse,
  EarlierEntry,
  KvAdministration,
  LinkedRecord,
  NamespaceExtent,
} from "./administration.ts";
import { lastRevisionBy } from "./log-horizon.ts";
import { outOfReachError, refuseMoment } from "./origin-errors.ts";
import { countsAt, type KvQuota } from "./quota.ts";
import { checkSqliteFile } from "./sqlite-check.ts";
import type { SqliteLog } from "./sqlite-log.ts";
import type { SqliteQuotas } from "./sqlite-quotas.ts";
import type { NamespaceRow } from "./sqlite-tables.ts";

export interface SqliteAdministrationOptions {
  /** The database's file. */
  readonly path: string;
  readonly clock: Clock;
  readonly history: SqliteLog;
  readonly quotas: SqliteQuotas;
  /** Reads what belongs to a namespace, all of one moment. */
  readonly read: <Result>(namespace: NamespaceId, action: (row: NamespaceRow) => Result) => Result;
  readonly transaction: <Result>(action: () => Result) => Result;
  readonly write: (write: {
    readonly namespace: NamespaceId;
    readonly operations: ReadonlyArray<KvOperation>;
    readonly isUnmetered: boolean;
  }) => Promise<Revision>;
}

/** What operators want of an origin in a SQLite file; a part of `SqliteOrigin`. */
export class SqliteAdministration implements KvAdministration {
  readonly #options: SqliteAdministrationOptions;

  constructor(options: SqliteAdministrationOptions) {
    this.#options = options;
  }

  async describe(namespace: NamespaceId): Promise<NamespaceExtent> {
    const row = this.#options.read(namespace, (found) => found);
    const { keys, bytes, revision, log_start, log_start_digest: digest } = row;
    return {
      ...HistoryPoint.parse(row),
      ...{ keys, bytes },
      log: {
        records: revision - log_start,
        bytes: row.log_bytes,
        start: HistoryPoint.parse({ revision: log_start, digest }),
        startMs: row.log_start_ms,
      },
    };
  }

  async revisionAt(namespace: NamespaceId, atMs: number): Promise<Revision> {
    const { read, clock, history } = this.#options;
    const row = read(namespace, (found) => found);
    refuseMoment(atMs, { nowMs: clock.nowMs(), earliestMs: row.log_start_ms });
    const extent = { start: row.log_start, head: row.revision };
    const revision = await lastRevisionBy(atMs, extent, async (middle) =>
      read(namespace, ({ id }) => history.commitMsOf(id, middle)),
    );
    return Revision.parse(revision);
  }

  async readEarlier(
    namespace: NamespaceId,
    at: Revision,
    after: Key | null,
  ): Promise<ReadonlyArray<EarlierEntry>> {
    const { read, history } = this.#options;
    return read(namespace, ({ id, log_start }) => {
      if (at < log_start) throw outOfReachError(at, log_start);
      return history.earlier(id, at, after);
    });
  }

  async readLinks(namespace: NamespaceId, after: Revision): Promise<ReadonlyArray<LinkedRecord>> {
    const { read, history } = this.#options;
    return read(namespace, ({ id, log_start }) => {
      if (after < log_start) throw outOfReachError(after, log_start);
      return history.links(id, after);
    });
  }

  rewrite(namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): Promise<Revision> {
    return this.#options.write({ namespace, operations, isUnmetered: true });
  }

  async assign(account: string, namespaces: ReadonlyArray<NamespaceId>): Promise<void> {
    const { transaction, quotas } = this.#options;
    transaction(() => quotas.assign(account, namespaces));
  }

  async setQuota(account: string, quota: KvQuota): Promise<void> {
    const { transaction, quotas } = this.#options;
    transaction(() => quotas.set(account, quota));
  }

  async accountUse(account: string): Promise<AccountUse> {
    const { transaction, quotas, clock } = this.#options;
    return transaction(() => {
      const { day_writes } = countsAt(quotas.counts(account), clock.nowMs());
      return { ...quotas.size(account), writesToday: day_writes };
    });
  }

  checkStorage(): Promise<ReadonlyArray<string>> {
    return checkSqliteFile(this.#options.path);
  }
}
