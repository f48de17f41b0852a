import type { ExpressionBuilder, Expression } from "kysely";
import { chunksOf } from "../chunks-of.ts";
import {
  accountOfKey,
  VersionId,
  workerNameOfKey,
  type AccountId,
  type NodeName,
  type UsageRow,
} from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { LIMITS } from "../limits.ts";
import { UsageDayStore } from "./day-store.ts";
import type { UsageFilter, WorkerUsage } from "./schemas.ts";

/** Columns of what adds up. */
const SUMS = [
  ...(["requests", "errors", "wall_ms", "bytes_in", "bytes_out", "cpu_us"] as const),
  ...(["subrequests", "subrequest_bytes_out", "subrequest_bytes_in"] as const),
  ...(["kv_reads", "kv_writes", "kv_deletes", "kv_lists"] as const),
] as const;
const KEY = ["account_id", "worker", "version_id", "hour", "node"] as const;

/** Usage by account, worker, version, node and hour, and how far each node has told it. */
export class UsageStore {
  readonly #days = new UsageDayStore();

  /** The last batch that is stored of a node; `undefined` when there is no such node. */
  async lastSequence(transaction: Transaction, node: NodeName): Promise<number | undefined> {
    const row = await transaction
      .selectFrom("nodes")
      .select("usage_sequence")
      .where("name", "=", node)
      .executeTakeFirst();
    return row?.usage_sequence;
  }

  /** False, and nothing is changed, when this batch or a later one is stored already, or there is no such node. */
  async advance(
    transaction: Transaction,
    to: { readonly node: NodeName; readonly sequence: number },
  ): Promise<boolean> {
    const { numUpdatedRows } = await transaction
      .updateTable("nodes")
      .set({ usage_sequence: to.sequence })
      .where("name", "=", to.node)
      .where("usage_sequence", "<", to.sequence)
      .executeTakeFirst();
    return numUpdatedRows > 0n;
  }

  /** Adds rows to what is there. Resolves with the workers whose accounts do not exist: theirs are left out. */
  async add(
    transaction: Transaction,
    added: { readonly node: NodeName; readonly rows: ReadonlyArray<UsageRow> },
  ): Promise<ReadonlyArray<string>> {
    const accountIds = added.rows.map(({ worker }) => accountOfKey(worker));
    const accounts = await this.#existing(transaction, accountIds);
    const known = added.rows.filter(({ worker }) => accounts.has(accountOfKey(worker)));
    for (const rows of chunksOf(known, LIMITS.usageRowsPerStatement)) {
      await transaction
        .insertInto("usage")
        .values(rows.map((row) => toRow(row, added.node)))
        .onConflict((conflict) => conflict.columns([...KEY]).doUpdateSet(combine))
        .execute();
    }
    await this.#days.addRows(transaction, { node: added.node, rows: known });
    const unknown = added.rows.filter(({ worker }) => !accounts.has(accountOfKey(worker)));
    return unknown.map(({ worker }) => worker);
  }

  /** Removes what was used before an hour. */
  async prune(transaction: Transaction, hour: string): Promise<void> {
    await transaction.deleteFrom("usage").where("hour", "<", hour).execute();
    await this.#days.prune(transaction, hour);
  }

  /** The sums of an account's versions, by worker and version. */
  async read(database: Database, filter: UsageFilter): Promise<ReadonlyArray<WorkerUsage>> {
    let query = database
      .selectFrom("usage")
      .select(["worker", "version_id"])
      .select((row) => SUMS.map((name) => row.fn.sum<number>(name).as(name)))
      .select((row) => row.fn.max("memory_peak_bytes").as("memory_peak_bytes"))
      .where("account_id", "=", filter.account)
      .where("hour", ">=", filter.from)
      .where("hour", "<", filter.to)
      .groupBy(["worker", "version_id"])
      .orderBy("worker")
      .orderBy("version_id")
      .limit(LIMITS.usageVersionsMax);
    if (filter.worker !== undefined) query = query.where("worker", "=", filter.worker);
    return (await query.execute()).map(toUsage);
  }

  async #existing(
    transaction: Transaction,
    accounts: ReadonlyArray<AccountId>,
  ): Promise<ReadonlySet<string>> {
    const rows = await transaction
      .selectFrom("accounts")
      .select("id")
      .where("id", "in", [...new Set(accounts)])
      .execute();
    return new Set(rows.map(({ id }) => id));
  }
}

type Excluded = Schema & { excluded: Schema["usage"] };

/** How a row that arrives is added to the one that is there. */
function combine(row: ExpressionBuilder<Excluded, "usage" | "excluded">) {
  const sums = SUMS.map((name): [string, Expression<number>] => [
    name,
    row(row.ref(`usage.${name}`), "+", row.ref(`excluded.${name}`)),
  ]);
  // Neither `max` nor `greatest` is known to both databases.
  const peak = row
    .case()
    .when("excluded.memory_peak_bytes", ">", row.ref("usage.memory_peak_bytes"))
    .then(row.ref("excluded.memory_peak_bytes"))
    .else(row.ref("usage.memory_peak_bytes"))
    .end();
  return { ...Object.fromEntries(sums), memory_peak_bytes: peak };
}

function toRow(row: UsageRow, node: NodeName): Schema["usage"] {
  return {
    account_id: accountOfKey(row.worker),
    worker: workerNameOfKey(row.worker),
    version_id: row.version,
    node,
    hour: row.hour,
    requests: row.requests,
    errors: row.errors,
    wall_ms: row.wallMs,
    bytes_in: row.bytesIn,
    bytes_out: row.bytesOut,
    cpu_us: row.cpuUs,
    subrequests: row.subrequests,
    subrequest_bytes_out: row.subrequestBytesOut,
    subrequest_bytes_in: row.subrequestBytesIn,
    kv_reads: row.kvReads,
    kv_writes: row.kvWrites,
    kv_deletes: row.kvDeletes,
    kv_lists: row.kvLists,
    memory_peak_bytes: row.memoryPeakBytes,
  };
}

function toUsage(row: Omit<Schema["usage"], "account_id" | "node" | "hour">): WorkerUsage {
  return {
    worker: row.worker,
    version: VersionId.parse(row.version_id),
    requests: row.requests,
    errors: row.errors,
    wallMs: row.wall_ms,
    cpuMs: row.cpu_us / 1_000,
    memoryPeakBytes: row.memory_peak_bytes,
    bytesIn: row.bytes_in,
    bytesOut: row.bytes_out,
    subrequests: row.subrequests,
    subrequestBytesOut: row.subrequest_bytes_out,
    subrequestBytesIn: row.subrequest_bytes_in,
    kvReads: row.kv_reads,
    kvWrites: row.kv_writes,
    kvDeletes: row.kv_deletes,
    kvLists: row.kv_lists,
  };
}
