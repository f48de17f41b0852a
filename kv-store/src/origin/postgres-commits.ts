import type { Clock } from "../clock.ts";
import type { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId } from "../names.ts";
import { byteaArray } from "./bytea-array.ts";
import type { CommitFeed } from "./commit-feed.ts";
import {
  CommitQueue,
  type CommitGroup,
  type CommittedWrite,
  type QueuedWrite,
} from "./commit-queue.ts";
import type { ExpiryClock } from "./expiry-clock.ts";
import { namedValues } from "./named-values.ts";
import { closedError, notFoundError, preconditionError, unclaimedError } from "./origin-errors.ts";
import type { Plan, PostgresConnections, RunStatement, Statement } from "./postgres-connections.ts";
import { databaseError } from "./postgres-errors.ts";
import { PostgresQuotas } from "./postgres-quotas.ts";
import {
  changesOf,
  HistoryAddition,
  type CurrentEntry,
  type LockedRow,
} from "./postgres-history.ts";
import type { PostgresSignals } from "./postgres-signals.ts";

export interface PostgresCommitsOptions {
  readonly connections: PostgresConnections;
  readonly feed: CommitFeed;
  readonly signals: PostgresSignals;
  readonly clock: Clock;
  /** Past it the oldest records of a log go. */
  readonly logBytesMax: number;
  readonly time: ExpiryClock;
}

interface CurrentRow extends CurrentEntry {
  readonly namespace: string;
  readonly key: Buffer;
}

const LOCK_TEXT = `
  SELECT id, namespace, revision, digest, log_start, log_bytes, account, written_ms, rewritten_ms
  FROM namespaces WHERE namespace = ANY($1) ORDER BY id FOR UPDATE`;
const LOCK: Statement = { name: "lock", text: LOCK_TEXT };
const LOCK_FREE: Statement = { name: "lock_free", text: `${LOCK_TEXT} SKIP LOCKED` };
const CURRENT: Statement = {
  name: "current",
  // The sizes of values are known without reading them.
  text: `SELECT namespace, wanted.key, entries.digest, entries.revision, expires_at, blob_hash,
      octet_length(entries.key) + coalesce(octet_length(metadata), 0)
        + coalesce(blob_size, octet_length(value), 0) AS bytes,
      coalesce(octet_length(value), 0) + coalesce(octet_length(metadata), 0) AS logged
    FROM unnest($1::text[], $2::bytea[]) AS wanted (namespace, key)
    JOIN namespaces USING (namespace)
    JOIN entries ON namespace_id = id AND entries.key = wanted.key`,
};

// Until the commit nobody collects them: see PostgresValues.
const CLAIMED: Statement = {
  name: "claimed",
  text: `SELECT hash FROM large_values WHERE hash = ANY($1::bytea[]) AND leaving_ms IS NULL
    ORDER BY hash FOR KEY SHARE`,
};

/** What came of a group's writes: to whom to tell what, once it is committed. */
interface GroupResult {
  readonly additions: ReadonlyArray<HistoryAddition>;
  readonly committed: ReadonlyArray<readonly [QueuedWrite, CommittedWrite]>;
  /**
   * Writes whose conditions are not true, that their account's quota does not admit, or that name what was not
   * claimed.
   */
  readonly refused: ReadonlyArray<readonly [QueuedWrite, KvError]>;
  /** Writes to namespaces that could not be locked, or don't exist. */
  readonly unlocked: ReadonlySet<NamespaceId>;
}

/**
 * Commits writes: those that arrive in one turn of the event loop, and those that arrive while others are
 * being committed, share a transaction. It locks its namespaces' rows, which gives their revisions an order:
 * the next writer, of whichever process, reads the row when the lock goes with the commit.
 */
export class PostgresCommits {
  readonly #connections: PostgresConnections;
  readonly #feed: CommitFeed;
  readonly #signals: PostgresSignals;
  readonly #clock: Clock;
  readonly #logBytesMax: number;
  readonly #time: ExpiryClock;
  readonly #queue = new CommitQueue();
  readonly #running = new Set<Promise<void>>();
  #isScheduled = false;
  #isClosed = false;

  constructor(options: PostgresCommitsOptions) {
    this.#connections = options.connections;
    this.#feed = options.feed;
    this.#signals = options.signals;
    this.#clock = options.clock;
    this.#time = options.time;
    this.#logBytesMax = options.logBytesMax;
  }

  write(write: Omit<QueuedWrite, "resolve" | "reject">): Promise<CommittedWrite> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw closedError();
      this.#queue.add({ ...write, resolve, reject });
      this.#schedule();
    });
  }

  /** Rejects what is in no transaction yet, and waits for those under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#queue.rejectWaiting(closedError());
    await Promise.all(this.#running);
    // Those that found their namespace held by another control plane wait again.
    this.#queue.rejectWaiting(closedError());
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#start();
    });
  }

  #start(): void {
    while (!this.#isClosed && this.#running.size < LIMITS.originWritersMax) {
      const group = this.#queue.take();
      if (group === undefined) return;
      const running = this.#commit(group).then(() => {
        this.#running.delete(running);
        this.#schedule();
      });
      this.#running.add(running);
    }
  }

  /** Commits the group and settles its writes. Never rejected. */
  async #commit(group: CommitGroup): Promise<void> {
    const begun: NamespaceId[] = [];
    let contended: ReadonlySet<NamespaceId> = new Set();
    try {
      const result = await this.#connections.transaction(async (run) => {
        const plan = await planCommit(run, group, {
          nowMs: this.#clock.nowMs(),
          nowSeconds: this.#time.nowSeconds(),
          logBytesMax: this.#logBytesMax,
        });
        for (const { namespace, after } of plan.result.additions) {
          begun.push(namespace);
          this.#feed.commitBegins(namespace, after);
        }
        return plan;
      });
      contended = this.#settle(group, result);
    } catch (error) {
      for (const namespace of begun) this.#feed.commitFailed(namespace);
      for (const write of [...group.writes.values()].flat()) write.reject(error);
      // The next attempt to connect may take as long, and who waits for it is told now.
      if (!this.#connections.isReachable) this.#queue.rejectWaiting(databaseError(error));
    }
    this.#queue.release(group, contended);
  }

  /** Tells what was committed. Returns the namespaces whose writes have to come once more. */
  #settle(group: CommitGroup, result: GroupResult): ReadonlySet<NamespaceId> {
    for (const { namespace, records, revision } of result.additions) {
      this.#feed.committed(namespace, records);
      this.#signals.tell({ namespace, revision });
    }
    for (const [write, committed] of result.committed) write.resolve(committed);
    for (const [write, error] of result.refused) write.reject(error);
    if (!group.waits) return result.unlocked;
    for (const namespace of result.unlocked) {
      for (const write of group.writes.get(namespace) ?? []) write.reject(notFoundError(namespace));
    }
    return new Set();
  }
}

/** Locks the namespaces and works out what the writes add to them. */
async function planCommit(
  run: RunStatement,
  group: CommitGroup,
  bounds: { readonly nowMs: number; readonly nowSeconds: number; readonly logBytesMax: number },
): Promise<Plan<GroupResult>> {
  const { nowMs, nowSeconds } = bounds;
  const keys = keysOf(group);
  const named = namedValues([...group.writes.values()].flat().flatMap((write) => write.operations));
  const [rows, currentRows, claimedRows] = await Promise.all([
    run<LockedRow>(group.waits ? LOCK : LOCK_FREE, [[...group.writes.keys()]]),
    // Read behind the lock: from then on nobody else changes them.
    run<CurrentRow>(CURRENT, [
      keys.map(({ namespace }) => namespace),
      byteaArray(keys.map(({ key }) => Buffer.from(key, "utf8"))),
    ]),
    named.length === 0
      ? []
      : run<{ hash: Buffer }>(CLAIMED, [byteaArray(named.map((each) => Buffer.from(each, "hex")))]),
  ]);
  const claimed = new Set(claimedRows.map(({ hash }) => hash.toString("hex")));
  const accounts = rows.flatMap(({ account }) => account ?? []);
  const quotas = await PostgresQuotas.lock(run, accounts, nowMs);
  const currentOf = Map.groupBy(currentRows, ({ namespace }) => namespace);
  const unlocked = new Set(group.writes.keys());
  const additions: HistoryAddition[] = [];
  const committed: Array<readonly [QueuedWrite, CommittedWrite]> = [];
  const refused: Array<readonly [QueuedWrite, KvError]> = [];
  for (const row of rows) {
    const entries = currentOf.get(row.namespace) ?? [];
    const current = new Map(entries.map((entry) => [entry.key.toString("utf8"), entry]));
    const addition = new HistoryAddition(row, current, nowMs);
    unlocked.delete(addition.namespace);
    for (const write of group.writes.get(addition.namespace) ?? []) {
      const unclaimed = namedValues(write.operations).find((hash) => !claimed.has(hash));
      if (unclaimed !== undefined) {
        refused.push([write, unclaimedError(unclaimed)]);
        continue;
      }
      const operations = write.operations.filter(
        ({ key }) => write.dueSeconds === undefined || isDue(key, write.dueSeconds),
      );
      const refusal = refusalOf(write, addition, nowSeconds) ?? quotas.charge(addition, write);
      if (refusal !== undefined) {
        refused.push([write, refusal]);
        continue;
      }
      for (const operation of operations) addition.append(operation);
      if (write.isUnmetered === true) addition.rewritten();
      committed.push([write, { revision: addition.revision, count: operations.length }]);
    }
    if (addition.records.length > 0) additions.push(addition);

    function isDue(key: string, dueSeconds: number): boolean {
      // What was written in this transaction is as new as can be.
      const expiresAt = addition.last.has(key) ? null : (current.get(key)?.expires_at ?? null);
      return expiresAt !== null && expiresAt <= dueSeconds;
    }
  }
  const result = { additions, committed, refused, unlocked };
  if (additions.length === 0) return { changes: [], result };
  const changes = changesOf(additions, { bytesMax: bounds.logBytesMax });
  return { changes: concat(changes, quotas.changes()), result };
}

/** What is wrong with the write's first condition that is not true by now. */
function refusalOf(
  { conditions = [] }: QueuedWrite,
  addition: HistoryAddition,
  nowSeconds: number,
): KvError | undefined {
  for (const condition of conditions) {
    const found = addition.liveRevision(condition.key, nowSeconds);
    if (found !== condition.revision) return preconditionError(condition, found);
  }
  return undefined;
}

/** All keys that the group writes to, or has conditions on, once each. */
function keysOf(
  group: CommitGroup,
): Array<{ readonly namespace: NamespaceId; readonly key: string }> {
  return [...group.writes].flatMap(([namespace, writes]) => {
    const keys = new Set(
      writes.flatMap(({ operations, conditions = [] }) =>
        [...operations, ...conditions].map(({ key }) => key),
      ),
    );
    return [...keys].map((key) => ({ namespace, key }));
  });
}

function* concat<Item>(...parts: ReadonlyArray<Iterable<Item>>): Iterable<Item> {
  for (const part of parts) yield* part;
}
