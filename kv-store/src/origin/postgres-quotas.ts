import type { KvError } from "../errors.ts";
import type { NamespaceId } from "../names.ts";
import type { AccountUse } from "./administration.ts";
import type { QueuedWrite } from "./commit-queue.ts";
import type {
  Change,
  PostgresConnections,
  RunStatement,
  Statement,
} from "./postgres-connections.ts";
import type { HistoryAddition } from "./postgres-history.ts";
import {
  AccountBudget,
  countsAt,
  growthOf,
  isSameQuota,
  NO_QUOTA,
  NO_WRITES,
  quotaOf,
  type KvQuota,
  type KvSize,
  type QuotaRow,
} from "./quota.ts";

// In the order of their names, and behind the namespaces' own locks, so that nobody waits in a circle.
const LOCK_QUOTAS: Statement = {
  name: "lock_quotas",
  text: `SELECT * FROM quotas WHERE account = ANY($1)
      AND coalesce(keys_max, bytes_max, writes_per_second_max, writes_per_day_max) IS NOT NULL
    ORDER BY account FOR UPDATE`,
};
const SIZES: Statement = {
  name: "account_sizes",
  text: `SELECT account, sum(keys)::bigint AS keys, sum(bytes)::bigint AS bytes
    FROM namespaces WHERE account = ANY($1) GROUP BY account`,
};
const SAVE_COUNTS: Statement = {
  name: "save_counts",
  text: `UPDATE quotas SET second = $2, second_writes = $3, day = $4, day_writes = $5
    WHERE account = $1`,
};
const COUNTS: Statement = { name: "counts", text: "SELECT * FROM quotas WHERE account = $1" };
const SET_QUOTA: Statement = {
  name: "set_quota",
  text: `INSERT INTO quotas (account, keys_max, bytes_max, writes_per_second_max, writes_per_day_max)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (account) DO UPDATE SET keys_max = excluded.keys_max, bytes_max = excluded.bytes_max,
      writes_per_second_max = excluded.writes_per_second_max,
      writes_per_day_max = excluded.writes_per_day_max`,
};
const ASSIGN: Statement = {
  name: "assign",
  text: `UPDATE namespaces SET account = $1
    WHERE namespace = ANY($2) AND account IS DISTINCT FROM $1`,
};

/**
 * The quotas of the accounts that a transaction writes for. It locks their rows, so that the writes of an
 * account with a quota are committed one transaction after another, and each knows what all before it left.
 */
export class PostgresQuotas {
  readonly #budgets: ReadonlyMap<string, AccountBudget>;

  private constructor(budgets: ReadonlyMap<string, AccountBudget>) {
    this.#budgets = budgets;
  }

  static async lock(
    run: RunStatement,
    accounts: ReadonlyArray<string>,
    nowMs: number,
  ): Promise<PostgresQuotas> {
    const budgets = new Map<string, AccountBudget>();
    if (accounts.length === 0) return new PostgresQuotas(budgets);
    const rows = await run<QuotaRow>(LOCK_QUOTAS, [[...new Set(accounts)]]);
    if (rows.length === 0) return new PostgresQuotas(budgets);
    // A statement of its own behind the lock: it sees what those have left who held it before.
    const sizes = await run<KvSize & { account: string }>(SIZES, [
      rows.map(({ account }) => account),
    ]);
    for (const row of rows) {
      const size = sizes.find(({ account }) => account === row.account) ?? NOTHING;
      budgets.set(row.account, budgetOf(row, { size, nowMs }));
    }
    return new PostgresQuotas(budgets);
  }

  /** Charges a write, but for one that removes what has expired; returns why it is refused. */
  charge(addition: HistoryAddition, write: QueuedWrite): KvError | undefined {
    const { account } = addition;
    const budget = account === null ? undefined : this.#budgets.get(account);
    if (budget === undefined || write.dueSeconds !== undefined) return undefined;
    const { operations, isUnmetered = false } = write;
    const growth = growthOf(operations, (key) => addition.entry(key)?.bytes);
    return budget.charge({ ...growth, writes: operations.length, isUnmetered });
  }

  /** What is to be stored of it with the transaction. */
  *changes(): Iterable<Change> {
    for (const { account, counts } of this.#budgets.values()) {
      const { second, second_writes, day, day_writes } = counts;
      yield {
        statement: SAVE_COUNTS,
        values: [account, second, second_writes, day, day_writes],
      };
    }
  }
}

const NOTHING: KvSize = { keys: 0, bytes: 0 };

function budgetOf(
  row: QuotaRow,
  has: { readonly size: KvSize; readonly nowMs: number },
): AccountBudget {
  return new AccountBudget({ account: row.account, quota: quotaOf(row), counts: row }, has);
}

/** Writes nothing when it is as it was. */
export async function setQuota(
  connections: PostgresConnections,
  account: string,
  quota: KvQuota,
): Promise<void> {
  const [row] = await connections.run<QuotaRow>(COUNTS, [account]);
  if (isSameQuota(row === undefined ? NO_QUOTA : quotaOf(row), quota)) return;
  const { keysMax, bytesMax, writesPerSecondMax, writesPerDayMax } = quota;
  const values = [account, keysMax, bytesMax, writesPerSecondMax, writesPerDayMax];
  await connections.run(SET_QUOTA, values);
}

export async function assignNamespaces(
  connections: PostgresConnections,
  account: string,
  namespaces: ReadonlyArray<NamespaceId>,
): Promise<void> {
  await connections.run(ASSIGN, [account, namespaces]);
}

export async function readAccountUse(
  connections: PostgresConnections,
  account: string,
  nowMs: number,
): Promise<AccountUse> {
  const [sizes, rows] = await Promise.all([
    connections.run<KvSize & { account: string }>(SIZES, [[account]]),
    connections.run<QuotaRow>(COUNTS, [account]),
  ]);
  const { keys, bytes } = sizes[0] ?? NOTHING;
  return { keys, bytes, writesToday: countsAt(rows[0] ?? NO_WRITES, nowMs).day_writes };
}
