import SqliteDatabase, { type Database } from "better-sqlite3";
import type { Clock } from "../clock.ts";
import { encodeCursor, listRange } from "../cursor.ts";
import type { Key, KvEntry, KvOperation, KvPage, KvRecord, ListOptions } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { HistoryPoint, Revision, type NamespaceId } from "../names.ts";
import { closedError, notFoundError } from "./origin-errors.ts";
import type { CommitListener, EntriesPage, KvOrigin, LogPage } from "./origin.ts";
import { migrate } from "./sqlite-schema.ts";
import { SqliteTables, type NamespaceRow } from "./sqlite-tables.ts";

export interface SqliteOriginOptions {
  /** The database's file, which is created when missing. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
}

interface QueuedWrite {
  readonly namespace: NamespaceId;
  readonly operations: ReadonlyArray<KvOperation>;
  readonly bytes: number;
  resolve(revision: Revision): void;
  reject(error: KvError): void;
}

/**
 * The origin in one SQLite file, for one process. A commit costs one `fsync`, so the writes that arrive
 * within one turn of the event loop share a transaction: under load the cost per write goes down.
 */
export class SqliteOrigin implements KvOrigin {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #database: Database;
  readonly #tables: SqliteTables;
  readonly #listeners = new Set<CommitListener>();
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
      migrate(database);
      return new SqliteOrigin(options, database);
    } catch (cause) {
      throw storageError(`${options.path} can't be opened`, cause);
    }
  }

  private constructor(options: SqliteOriginOptions, database: Database) {
    this.#path = options.path;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#database = database;
    this.#tables = new SqliteTables(database);
  }

  async createNamespace(namespace: NamespaceId): Promise<void> {
    this.#run(() => this.#tables.addNamespace(namespace));
  }

  async deleteNamespace(namespace: NamespaceId): Promise<void> {
    // From here on nobody finds the rows; if the process ends before they are swept, `expire` does it.
    this.#run(() => this.#transaction(() => this.#tables.removeNamespace(namespace)));
    await this.#sweepRemoved();
  }

  write(namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): Promise<Revision> {
    const bytes = operations.reduce((sum, operation) => sum + operationBytes(operation), 0);
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closedError());
      if (this.#queueBytes > 0 && this.#queueBytes + bytes > LIMITS.commitBytesMax) {
        return reject(new KvError("busy", `${this.#queueBytes} bytes wait to be written already`));
      }
      if (this.#queue.length === 0) setImmediate(() => this.#commitQueue());
      this.#queue.push({ namespace, operations, bytes, resolve, reject });
      this.#queueBytes += bytes;
    });
  }

  async get(namespace: NamespaceId, key: string): Promise<KvEntry | undefined> {
    const entry = this.#run(() => this.#tables.entry(this.#row(namespace).id, key));
    const isLive = entry?.expiresAt === undefined || entry.expiresAt > this.#nowSeconds();
    return isLive ? entry : undefined;
  }

  async list(namespace: NamespaceId, options: ListOptions): Promise<KvPage> {
    const range = listRange(options);
    // One more than asked for shows whether another page follows.
    const bounds = { nowSeconds: this.#nowSeconds(), rowsMax: options.limit + 1 };
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
      if (after.revision < row.log_start) return { kind: "truncated" };
      // A revision that was never given is no place in this history either.
      if (this.#tables.digestAt(row, after.revision) !== after.digest) return { kind: "diverged" };
      const records = this.#tables.records(row.id, after.revision);
      // Whoever copies the namespace reads its log, too, and is not done with it.
      if (records.length > 0 && this.#isLogHeld(namespace)) this.#holdLog(namespace);
      return { kind: "records", records };
    });
  }

  async readEntries(namespace: NamespaceId, after: Key | null): Promise<EntriesPage> {
    return this.#run(() =>
      this.#database
        .transaction(() => {
          const row = this.#row(namespace);
          this.#holdLog(namespace);
          const entries = this.#tables.entries(row.id, after);
          return { ...HistoryPoint.parse(row), entries };
        })
        .deferred(),
    );
  }

  onCommit(listener: CommitListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async expire(nowSeconds: number): Promise<number> {
    let count = 0;
    for (;;) {
      const swept = this.#expireSome(nowSeconds);
      count += swept;
      if (swept < LIMITS.sweepRowsMax) break;
      await nextTurn();
    }
    await this.#sweepRemoved();
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
    const committed = new Map<NamespaceId, KvRecord[]>();
    const settlements: Array<() => void> = [];
    try {
      this.#transaction(() => {
        for (const write of writes) {
          const row = this.#tables.namespace(write.namespace);
          if (row === undefined) {
            settlements.push(() => write.reject(notFoundError(write.namespace)));
            continue;
          }
          const revision = this.#append(row, write.operations, committed);
          settlements.push(() => write.resolve(revision));
        }
      });
    } catch (cause) {
      // Nothing of it is kept, unless the process ends before the next commit: what was written to the log
      // and could not be synced is then found there, complete.
      const error = storageError("the commit failed", cause);
      for (const write of writes) write.reject(error);
      return;
    }
    this.#announce(committed);
    for (const settle of settlements) settle();
  }

  #append(
    row: NamespaceRow,
    operations: ReadonlyArray<KvOperation>,
    committed: Map<NamespaceId, KvRecord[]>,
  ): Revision {
    const namespace = row.namespace as NamespaceId; // found by a parsed id, so it is one
    const records = committed.get(namespace) ?? [];
    for (const operation of operations) records.push(this.#tables.append(row, operation));
    if (records.length > 0) committed.set(namespace, records);
    const isHeld = this.#isLogHeld(namespace);
    this.#tables.trimLog(row, { added: operations.length, isHeld });
    this.#tables.saveNamespace(row);
    return Revision.parse(row.revision);
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
    const committed = new Map<NamespaceId, KvRecord[]>();
    let count = 0;
    this.#run(() => {
      // Found and deleted in one transaction: a key that was written anew meanwhile is not due.
      this.#transaction(() => {
        for (const [namespace, deletes] of this.#tables.due(nowSeconds, LIMITS.sweepRowsMax)) {
          this.#append(this.#row(namespace), deletes, committed);
          count += deletes.length;
        }
      });
    });
    this.#announce(committed);
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

  #nowSeconds(): number {
    return Math.floor(this.#clock.nowMs() / 1_000);
  }
}

function operationBytes(operation: KvOperation): number {
  const value = operation.kind === "put" ? operation.value : undefined;
  // The fixed part stands for key, metadata and what the tables add.
  return 256 + (value?.kind === "inline" ? value.bytes.length : 0);
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function storageError(what: string, cause: unknown): KvError {
  if (cause instanceof KvError) return cause;
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new KvError("storage_failed", `${what}: ${detail}`, { cause });
}
