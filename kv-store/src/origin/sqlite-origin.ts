import SqliteDatabase, { type Database } from "better-sqlite3";
import type { Clock } from "../clock.ts";
import { encodeCursor, listRange } from "../cursor.ts";
import type {
  ContentHash,
  Key,
  KvCondition,
  KvEntry,
  KvOperation,
  KvPage,
  KvRecord,
  ListOptions,
} from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { HistoryPoint, type NamespaceId, type Revision } from "../names.ts";
import type { KvAdministration, ManagedOrigin } from "./administration.ts";
import { bytesOf } from "./commit-queue.ts";
import { ExpiryClock } from "./expiry-clock.ts";
import { LogAging } from "./log-aging.ts";
import { DEFAULT_HORIZON, isFarBehind, type LogHorizon } from "./log-horizon.ts";
import { closedError, notFoundError } from "./origin-errors.ts";
import type { CommitListener, EntriesPage, LogPage } from "./origin.ts";
import { storageError } from "./sqlite-errors.ts";
import { SqliteAdministration } from "./sqlite-administration.ts";
import { SqliteCommit } from "./sqlite-commit.ts";
import { SqliteLog } from "./sqlite-log.ts";
import type { QueuedWrite } from "./sqlite-queue.ts";
import { SqliteQuotas } from "./sqlite-quotas.ts";
import { migrate } from "./sqlite-schema.ts";
import { SqliteTables, type NamespaceRow } from "./sqlite-tables.ts";
import { SqliteValues } from "./sqlite-values.ts";

export interface SqliteOriginOptions {
  /** The database's file, which is created when missing. */
  readonly path: string;
  /** How much of each history is kept; by default `LIMITS.logAgeMs` and `LIMITS.logBytesMax`. */
  readonly horizon?: LogHorizon;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The origin in one SQLite file, for one process. A commit costs one `fsync`, so the writes that arrive
 * within one turn of the event loop share a transaction: under load the cost per write goes down.
 */
export class SqliteOrigin implements ManagedOrigin {
  readonly administration: KvAdministration;
  readonly #path: string;
  readonly #horizon: LogHorizon;
  readonly #clock: Clock;
  readonly #time: ExpiryClock;
  readonly #log: Log;
  readonly #database: Database;
  readonly #tables: SqliteTables;
  readonly #history: SqliteLog;
  readonly #aging: LogAging<NamespaceRow>;
  readonly #quotas: SqliteQuotas;
  readonly #listeners = new Set<CommitListener>();
  readonly #values: SqliteValues;
  /** Until when the log of a namespace that is being copied is held, by the monotonic clock. */
  readonly #heldUntilMs = new Map<NamespaceId, number>();
  /** Writes for the next group commit, which is scheduled while this is not empty. */
  #queue: QueuedWrite[] = [];
  #queueBytes = 0;
  #isClosed = false;

  /** Opens or creates the file. Fails with `storage_failed`. */
  static open(options: SqliteOriginOptions): SqliteOrigin {
    try {
      const database = new SqliteDatabase(options.path);
      database.pragma("journal_mode = WAL");
      // Without FULL a power cut loses the commits since the last checkpoint, acknowledged ones included.
      database.pragma("synchronous = FULL");
      migrate(database, options.clock.nowMs());
      return new SqliteOrigin(options, database);
    } catch (cause) {
      throw storageError(`${options.path} can't be opened`, cause);
    }
  }

  private constructor(options: SqliteOriginOptions, database: Database) {
    this.#path = options.path;
    this.#horizon = options.horizon ?? DEFAULT_HORIZON;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#database = database;
    this.#tables = new SqliteTables(database);
    this.#values = new SqliteValues({
      database,
      clock: options.clock,
      run: (act) => this.#run(act),
    });
    this.#time = new ExpiryClock(options.clock, this.#tables.expiredUpTo());
    this.#history = new SqliteLog(database);
    this.#aging = new LogAging({
      ...{ tables: this.#tables, history: this.#history, clock: options.clock },
      ageMs: this.#horizon.ageMs,
      isHeld: (namespace) => this.#isLogHeld(namespace),
    });
    this.#quotas = new SqliteQuotas(database);
    this.administration = new SqliteAdministration({
      path: options.path,
      clock: options.clock,
      history: this.#history,
      quotas: this.#quotas,
      read: (namespace, action) => this.#read(namespace, action),
      transaction: (action) => this.#run(() => this.#transaction(action)),
      write: (write) => this.#enqueue({ ...write, conditions: [] }),
    });
  }

  async createNamespace(namespace: NamespaceId): Promise<void> {
    this.#run(() => this.#tables.addNamespace(namespace, this.#clock.nowMs()));
  }

  async deleteNamespace(namespace: NamespaceId): Promise<void> {
    // From here on nobody finds the rows; if the process ends before they are swept, `expire` does it.
    this.#run(() => this.#transaction(() => this.#tables.removeNamespace(namespace)));
    await this.#sweepRemoved();
  }

  write(
    namespace: NamespaceId,
    operations: ReadonlyArray<KvOperation>,
    conditions: ReadonlyArray<KvCondition> = [],
  ): Promise<Revision> {
    return this.#enqueue({ namespace, operations, conditions, isUnmetered: false });
  }

  #enqueue(write: Omit<QueuedWrite, "bytes" | "resolve" | "reject">): Promise<Revision> {
    const bytes = bytesOf(write);
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closedError());
      if (this.#queueBytes > 0 && this.#queueBytes + bytes > LIMITS.commitBytesMax) {
        return reject(new KvError("busy", `${this.#queueBytes} bytes wait to be written already`));
      }
      if (this.#queue.length === 0) setImmediate(() => this.#commitQueue());
      this.#queue.push({ ...write, bytes, resolve, reject });
      this.#queueBytes += bytes;
    });
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
    const entry = this.#run(() => this.#tables.entry(this.#row(namespace).id, key));
    const isLive = entry?.expiresAt === undefined || entry.expiresAt > this.#time.nowSeconds();
    return isLive ? entry : undefined;
  }

  async list(namespace: NamespaceId, options: ListOptions): Promise<KvPage> {
    const range = listRange(options);
    // One more than asked for shows whether another page follows.
    const bounds = { nowSeconds: this.#time.nowSeconds(), rowsMax: options.limit + 1 };
    const found = this.#run(() => this.#tables.listing(this.#row(namespace).id, range, bounds));
    const entries = found.slice(0, options.limit);
    const last = entries.at(-1);
    if (found.length === entries.length || last === undefined) return { entries };
    return { entries, cursor: encodeCursor(Buffer.from(last.key, "utf8")) };
  }

  async point(namespace: NamespaceId): Promise<HistoryPoint> {
    return HistoryPoint.parse(this.#run(() => this.#row(namespace)));
  }

  async readLog(namespace: NamespaceId, after: HistoryPoint): Promise<LogPage> {
    return this.#run(() => {
      const row = this.#row(namespace);
      const isHeld = this.#isLogHeld(namespace);
      if (after.revision < row.log_start || isFarBehind(after.revision, row, { isHeld })) {
        return { kind: "truncated" };
      }
      // A revision that was never given is no place in this history either.
      if (this.#tables.digestAt(row, after.revision) !== after.digest) return { kind: "diverged" };
      const records = this.#tables.records(row.id, after.revision);
      // Whoever copies the namespace reads its log, too, and is not done with it.
      if (records.length > 0 && isHeld) this.#holdLog(namespace);
      return { kind: "records", records };
    });
  }

  async readEntries(namespace: NamespaceId, after: Key | null): Promise<EntriesPage> {
    return this.#read(namespace, (row) => {
      this.#holdLog(namespace);
      return { ...HistoryPoint.parse(row), entries: this.#tables.entries(row.id, after) };
    });
  }

  onCommit(listener: CommitListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async expire(): Promise<number> {
    const nowSeconds = this.#time.nowSeconds();
    let count = 0;
    for (;;) {
      const swept = this.#expireSome(nowSeconds);
      count += swept;
      if (swept < LIMITS.sweepRowsMax) break;
      await nextTurn();
    }
    await this.#sweepRemoved();
    await this.#trimAged();
    return count;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const write of this.#queue) write.reject(closedError());
    this.#queue = [];
    this.#database.close();
  }

  #commitQueue(): void {
    const writes = this.#queue;
    this.#queue = [];
    this.#queueBytes = 0;
    if (this.#isClosed) return;
    const commit = this.#newCommit();
    let outcomes: ReadonlyArray<Revision | KvError>;
    try {
      outcomes = this.#transaction(() => {
        const made = writes.map((write) => commit.write(write));
        commit.end();
        return made;
      });
    } catch (cause) {
      // Nothing of it is kept, unless the process ends before the next commit: what was written to the log
      // and could not be synced is then found there, complete.
      const error = storageError("the commit failed", cause);
      for (const write of writes) write.reject(error);
      return;
    }
    this.#announce(commit.records);
    for (const [index, write] of writes.entries()) settle(write, outcomes[index]);
  }

  #newCommit(): SqliteCommit {
    return new SqliteCommit({
      ...{ tables: this.#tables, history: this.#history },
      ...{ quotas: this.#quotas, values: this.#values },
      logBytesMax: this.#horizon.bytesMax,
      nowMs: this.#clock.nowMs(),
      nowSeconds: this.#time.nowSeconds(),
    });
  }

  async #trimAged(): Promise<void> {
    if (!this.#aging.begin()) return;
    const trimSome = (): boolean =>
      this.#run(() => this.#transaction(() => this.#aging.trimSome()));
    while (!this.#isClosed && trimSome()) await nextTurn();
  }

  #holdLog(namespace: NamespaceId): void {
    this.#heldUntilMs.set(namespace, this.#clock.monotonicMs() + LIMITS.logHoldMs);
  }

  #isLogHeld(namespace: NamespaceId): boolean {
    const untilMs = this.#heldUntilMs.get(namespace) ?? -Infinity;
    if (this.#clock.monotonicMs() < untilMs) return true;
    this.#heldUntilMs.delete(namespace);
    return false;
  }

  #expireSome(nowSeconds: number): number {
    const commit = this.#newCommit();
    let count = 0;
    this.#run(() => {
      // Found and deleted in one transaction: a key that was written anew meanwhile is not due.
      this.#transaction(() => {
        this.#tables.saveExpiredUpTo(nowSeconds);
        for (const [namespace, deletes] of this.#tables.due(nowSeconds, LIMITS.sweepRowsMax)) {
          commit.expire(namespace, deletes);
          count += deletes.length;
        }
        commit.end();
      });
    });
    this.#announce(commit.records);
    return count;
  }

  #announce(committed: ReadonlyMap<NamespaceId, ReadonlyArray<KvRecord>>): void {
    for (const [namespace, records] of committed) {
      for (const listener of this.#listeners) {
        try {
          listener(namespace, records);
        } catch (err) {
          // The commit stands whatever a listener thinks of it: it finds the records in the log.
          this.#log.error({ err, namespace }, "a listener of commits failed");
        }
      }
    }
  }

  async #sweepRemoved(): Promise<void> {
    const sweep = (): boolean =>
      this.#run(() => this.#transaction(() => this.#tables.sweepRemoved(LIMITS.sweepRowsMax)));
    while (!this.#isClosed && sweep()) {
      await nextTurn();
    }
  }

  /** Reads what belongs to a namespace, all of one moment. */
  #read<Result>(namespace: NamespaceId, action: (row: NamespaceRow) => Result): Result {
    return this.#run(() =>
      this.#database.transaction(() => action(this.#row(namespace))).deferred(),
    );
  }

  #row(namespace: NamespaceId): NamespaceRow {
    const row = this.#tables.namespace(namespace);
    if (row === undefined) throw notFoundError(namespace);
    return row;
  }

  /** Runs database calls: what they throw becomes an error of this package. */
  #run<Result>(action: () => Result): Result {
    if (this.#isClosed) throw closedError();
    try {
      return action();
    } catch (error) {
      throw error instanceof KvError ? error : storageError(`${this.#path} refused`, error);
    }
  }

  #transaction<Result>(action: () => Result): Result {
    return this.#database.transaction(action).immediate();
  }
}

/** Tells a writer what became of its write. */
function settle(write: QueuedWrite, outcome: Revision | KvError | undefined): void {
  if (outcome instanceof KvError) write.reject(outcome);
  else if (outcome !== undefined) write.resolve(outcome);
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
