import type { Clock } from "../clock.ts";
import type { Key, KvOperation } from "../entry.ts";
import { Revision, type NamespaceId } from "../names.ts";
import type {
  AccountUse,
  EarlierEntry,
  KvAdministration,
  LinkedRecord,
  NamespaceExtent,
} from "./administration.ts";
import { lastRevisionBy } from "./log-horizon.ts";
import { found, outOfReachError, refuseMoment } from "./origin-errors.ts";
import type { PostgresCommits } from "./postgres-commits.ts";
import type { PostgresConnections } from "./postgres-connections.ts";
import type { LogRead, PostgresLog } from "./postgres-log.ts";
import { assignNamespaces, readAccountUse, setQuota } from "./postgres-quotas.ts";
import type { KvQuota } from "./quota.ts";

export interface PostgresAdministrationOptions {
  readonly connections: PostgresConnections;
  readonly clock: Clock;
  readonly history: PostgresLog;
  readonly commits: PostgresCommits;
}

/** What operators want of an origin in PostgreSQL; a part of `PostgresOrigin`. */
export class PostgresAdministration implements KvAdministration {
  readonly #options: PostgresAdministrationOptions;

  constructor(options: PostgresAdministrationOptions) {
    this.#options = options;
  }

  async describe(namespace: NamespaceId): Promise<NamespaceExtent> {
    return found(namespace, await this.#options.history.extent(namespace));
  }

  async revisionAt(namespace: NamespaceId, atMs: number): Promise<Revision> {
    const { history, clock } = this.#options;
    const { revision: head, log } = await this.describe(namespace);
    refuseMoment(atMs, { nowMs: clock.nowMs(), earliestMs: log.startMs });
    const extent = { start: log.start.revision, head };
    const revision = await lastRevisionBy(atMs, extent, (middle) =>
      history.commitMsOf(namespace, middle),
    );
    return Revision.parse(revision);
  }

  async readEarlier(
    namespace: NamespaceId,
    at: Revision,
    after: Key | null,
  ): Promise<ReadonlyArray<EarlierEntry>> {
    return inReach(namespace, at, await this.#options.history.earlier(namespace, at, after));
  }

  async readLinks(namespace: NamespaceId, after: Revision): Promise<ReadonlyArray<LinkedRecord>> {
    return inReach(namespace, after, await this.#options.history.links(namespace, after));
  }

  async rewrite(namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): Promise<Revision> {
    const write = { namespace, operations, isUnmetered: true };
    return (await this.#options.commits.write(write)).revision;
  }

  assign(account: string, namespaces: ReadonlyArray<NamespaceId>): Promise<void> {
    return assignNamespaces(this.#options.connections, account, namespaces);
  }

  setQuota(account: string, quota: KvQuota): Promise<void> {
    return setQuota(this.#options.connections, account, quota);
  }

  accountUse(account: string): Promise<AccountUse> {
    const { connections, clock } = this.#options;
    return readAccountUse(connections, account, clock.nowMs());
  }

  async checkStorage(): Promise<ReadonlyArray<string>> {
    return []; // the server's own `pg_amcheck` looks at its files
  }
}

/** The rows of a page, if the log still reached back to the revision behind which they follow. */
function inReach<Row>(
  namespace: NamespaceId,
  after: Revision,
  read: LogRead<Row> | undefined,
): ReadonlyArray<Row> {
  const { logStart, rows } = found(namespace, read);
  if (after < logStart) throw outOfReachError(after, logStart);
  return rows;
}
