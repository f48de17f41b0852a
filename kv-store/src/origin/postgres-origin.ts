import type { Clock } from "../clock.ts";
import { encodeCursor, listRange } from "../cursor.ts";
import type {
  ContentHash,
  Key,
  KvCondition,
  KvEntry,
  KvOperation,
  KvPage,
  ListOptions,
} from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import type { HistoryPoint, NamespaceId, Revision } from "../names.ts";
import type { KvAdministration, ManagedOrigin } from "./administration.ts";
import { CommitFeed } from "./commit-feed.ts";
import { ExpiryClock } from "./expiry-clock.ts";
import { DEFAULT_HORIZON, isFarBehind, type LogHorizon } from "./log-horizon.ts";
import { PointReads } from "./point-reads.ts";
import { found } from "./origin-errors.ts";
import type { CommitListener, EntriesPage, LogPage } from "./origin.ts";
import { PostgresAdministration } from "./postgres-administration.ts";
import { PostgresCommits } from "./postgres-commits.ts";
import { PostgresConnections } from "./postgres-connections.ts";
import { PostgresLog } from "./postgres-log.ts";
import { isLogHeld, PostgresLogHolds } from "./postgres-log-holds.ts";
import { PostgresNamespaces } from "./postgres-namespaces.ts";
import { migrate } from "./postgres-schema.ts";
import { PostgresSignals, type Signal } from "./postgres-signals.ts";
import { PostgresTables, type DueKey, type RecordsRead } from "./postgres-tables.ts";
import { PostgresValues } from "./postgres-values.ts";

export interface PostgresOriginOptions {
  /** `postgres://user:password@host:port/database`, of a server that keeps a session for each connection. */
  readonly url: string;
  /** How much of each history is kept; by default `LIMITS.logAgeMs` and `LIMITS.logBytesMax`. */
  readonly horizon?: LogHorizon;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The origin in a PostgreSQL database, for any number of processes at once. The order of a namespace's
 * writes is that in which transactions lock its row; a commit makes their records visible and lets the next
 * one go, so nobody ever reads a revision before the one below it.
 */
export class PostgresOrigin implements ManagedOrigin {
  readonly administration: KvAdministration;
  readonly #clock: Clock;
  readonly #time: ExpiryClock;
  readonly #connections: PostgresConnections;
  readonly #tables: PostgresTables;
  readonly #namespaces: PostgresNamespaces;
  readonly #values: PostgresValues;
  readonly #holds: PostgresLogHolds;
  readonly #history: PostgresLog;
  readonly #feed: CommitFeed;
  readonly #commits: PostgresCommits;
  readonly #points: PointReads;
  readonly #signals: PostgresSignals;
  readonly #stopPolling: () => void;
  #isPolling = false;
  #closing: Promise<void> | undefined;

  /** Connects and makes the tables when there are none. Fails with `origin_unreachable` or `storage_failed`. */
  static async open(options: PostgresOriginOptions): Promise<PostgresOrigin> {
    await migrate(options.url);
    const connections = new PostgresConnections(options);
    await warnOfLoss(connections, options.log);
    const reachedSeconds = await new PostgresTables(connections).reachExpiry(0);
    const time = new ExpiryClock(options.clock, reachedSeconds);
    return new PostgresOrigin(options, connections, time);
  }

  private constructor(
    { url, horizon = DEFAULT_HORIZON, clock, log }: PostgresOriginOptions,
    connections: PostgresConnections,
    time: ExpiryClock,
  ) {
    this.#clock = clock;
    this.#time = time;
    this.#connections = connections;
    this.#tables = new PostgresTables(connections);
    this.#namespaces = new PostgresNamespaces(connections);
    this.#values = new PostgresValues(connections, clock);
    this.#holds = new PostgresLogHolds(connections, clock);
    this.#history = new PostgresLog({ connections, clock, ageMs: horizon.ageMs });
    this.#points = new PointReads((namespaces) => this.#tables.points(namespaces));
    this.#feed = new CommitFeed({
      readRecords: async (namespace, after) => {
        const { logStart, records } = await this.#records(namespace, after);
        return after < logStart ? undefined : records;
      },
      ...{ clock, log },
    });
    const onSignal = ({ namespace, revision }: Signal): void =>
      this.#feed.heard(namespace, revision);
    this.#signals = new PostgresSignals({ url, clock, log, onSignal });
    this.#commits = new PostgresCommits({
      ...{ connections, clock, time, feed: this.#feed, signals: this.#signals },
      logBytesMax: horizon.bytesMax,
    });
    this.administration = new PostgresAdministration({
      ...{ connections, clock, history: this.#history, commits: this.#commits },
    });
    this.#stopPolling = clock.every(LIMITS.originPollMs, () => void this.#poll());
  }

  createNamespace(namespace: NamespaceId): Promise<void> {
    return this.#namespaces.add(namespace, this.#clock.nowMs());
  }

  async deleteNamespace(namespace: NamespaceId): Promise<void> {
    // From here on nobody finds the rows; if the process ends before they are swept, `expire` does it.
    await this.#namespaces.remove(namespace);
    this.#feed.forget(namespace);
    await this.#namespaces.sweepRemoved();
  }

  async write(
    namespace: NamespaceId,
    operations: ReadonlyArray<KvOperation>,
    conditions: ReadonlyArray<KvCondition> = [],
  ): Promise<Revision> {
    const { revision } = await this.#commits.write({ namespace, operations, conditions });
    return revision;
  }

  claimValue(hash: ContentHash): Promise<void> {
    return this.#values.claim(hash);
  }

  collectValues(remove: (hash: ContentHash) => Promise<void>): Promise<number> {
    return this.#values.collect(remove);
  }

  nowMs(): number {
    return this.#time.nowMs();
  }

  async get(namespace: NamespaceId, key: string): Promise<KvEntry | undefined> {
    const { entry } = found(namespace, await this.#tables.entry(namespace, key));
    const isLive = entry?.expiresAt === undefined || entry.expiresAt > this.#time.nowSeconds();
    return isLive ? entry : undefined;
  }

  async list(namespace: NamespaceId, options: ListOptions): Promise<KvPage> {
    // One more than asked for shows whether another page follows.
    const bounds = { nowSeconds: this.#time.nowSeconds(), rowsMax: options.limit + 1 };
    const listing = await this.#tables.listing(namespace, listRange(options), bounds);
    const rows = found(namespace, listing);
    const entries = rows.slice(0, options.limit);
    const last = entries.at(-1);
    if (rows.length === entries.length || last === undefined) return { entries };
    return { entries, cursor: encodeCursor(Buffer.from(last.key, "utf8")) };
  }

  async point(namespace: NamespaceId): Promise<HistoryPoint> {
    const point = found(namespace, await this.#points.ask(namespace));
    this.#feed.asked(namespace, point.revision);
    return point;
  }

  async readLog(namespace: NamespaceId, after: HistoryPoint): Promise<LogPage> {
    const read = await this.#records(namespace, after.revision);
    this.#feed.asked(namespace, read.head.revision);
    const isHeld = isLogHeld(read.heldUntilMs, this.#clock.nowMs());
    const head = { revision: read.head.revision, keys: read.keys };
    if (after.revision < read.logStart || isFarBehind(after.revision, head, { isHeld })) {
      return { kind: "truncated" };
    }
    // A revision that was never given is no place in this history either.
    if (read.digestAfter !== after.digest) return { kind: "diverged" };
    // Whoever copies the namespace reads its log, too, and is not done with it.
    if (isHeld && read.records.length > 0) await this.#holds.hold(namespace);
    return { kind: "records", records: read.records };
  }

  async readEntries(namespace: NamespaceId, after: Key | null): Promise<EntriesPage> {
    await this.#holds.hold(namespace);
    return found(namespace, await this.#tables.entries(namespace, after));
  }

  onCommit(listener: CommitListener): () => void {
    return this.#feed.onCommit(listener);
  }

  async expire(): Promise<number> {
    // The control plane whose clock is ahead deletes first: what it acts on counts for all of them.
    this.#time.reached(await this.#tables.reachExpiry(this.#time.nowSeconds()));
    const nowSeconds = this.#time.nowSeconds();
    let count = 0;
    for (;;) {
      const due = await this.#tables.due(nowSeconds, LIMITS.sweepRowsMax);
      const swept = await this.#deleteDue(due, nowSeconds);
      count += swept;
      // When nothing was swept another control plane was faster, and goes on.
      if (due.length < LIMITS.sweepRowsMax || swept === 0) break;
    }
    await this.#namespaces.sweepRemoved();
    await this.#history.trimAged();
    return count;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#stopPolling();
    this.#feed.close();
    await this.#commits.close();
    await this.#signals.close();
    await this.#connections.close();
  }

  async #records(namespace: NamespaceId, after: Revision): Promise<RecordsRead> {
    return found(namespace, await this.#tables.records(namespace, after));
  }

  /** Deletes those of the keys that have still expired when their namespace is locked. */
  async #deleteDue(due: ReadonlyArray<DueKey>, nowSeconds: number): Promise<number> {
    const deletes = new Map<NamespaceId, KvOperation[]>();
    for (const { namespace, key } of due) {
      const operations = deletes.get(namespace) ?? [];
      operations.push({ kind: "delete", key });
      deletes.set(namespace, operations);
    }
    const writes = [...deletes].map(async ([namespace, operations]) => {
      try {
        const write = { namespace, operations, dueSeconds: nowSeconds };
        return (await this.#commits.write(write)).count;
      } catch (error) {
        if (error instanceof KvError && error.code === "namespace_not_found") return 0; // removed meanwhile
        throw error;
      }
    });
    const counts = await Promise.all(writes);
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Finds commits of which no notification came. */
  async #poll(): Promise<void> {
    const followed = this.#feed.followed();
    if (followed.length === 0 || this.#isPolling) return;
    this.#isPolling = true;
    try {
      const points = await this.#tables.points(followed);
      for (const namespace of followed) {
        const point = points.get(namespace);
        if (point !== undefined) this.#feed.heard(namespace, point.revision);
      }
    } catch {
      // The next poll is due soon; that the database is away, its connections say.
    } finally {
      this.#isPolling = false;
    }
  }
}

/** Says so when the server is set up to lose what it has committed. */
async function warnOfLoss(connections: PostgresConnections, log: Log): Promise<void> {
  const [settings] = await connections.run<{ fsync: string; full_page_writes: string }>(
    SETTINGS,
    [],
  );
  if (settings?.fsync === "on" && settings.full_page_writes === "on") return;
  log.warn({ settings }, "the database may lose acknowledged writes when its machine fails");
}

const SETTINGS = {
  name: "settings",
  text: `SELECT current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes`,
};
