import {
  AccountId,
  accountOfKey,
  NodeName,
  NO_DAY_USE,
  sumOfDayUses,
  type DayUse,
  type UsageRow,
} from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { LIMITS } from "../limits.ts";

/** What an account used on a day, by node. */
export type UseByNode = ReadonlyMap<NodeName, DayUse>;

/** What counts for quotas by day: a sum for each account, day and node, beside the rows that it is made of. */
export class UsageDayStore {
  /** Adds what accounts that exist used. In the transaction of the rows, so that each counts once here, too. */
  async add(
    transaction: Transaction,
    added: { readonly node: NodeName; readonly rows: ReadonlyArray<UsageRow> },
  ): Promise<void> {
    const counted = added.rows.filter(({ isStatic }) => !isStatic);
    const byDay = Map.groupBy(
      counted,
      ({ hour, worker }) => `${hour.slice(0, 10)} ${accountOfKey(worker)}`,
    );
    const sums = [...byDay].map(([key, rows]) => {
      const [day = "", account_id = ""] = key.split(" ");
      const { requests, cpuUs, kvReads, kvLists } = sumOfDayUses(rows);
      const used = { requests, cpu_us: cpuUs, kv_reads: kvReads, kv_lists: kvLists };
      return { day, account_id, node: added.node, ...used };
    });
    for (let index = 0; index < sums.length; index += LIMITS.usageRowsPerStatement) {
      await transaction
        .insertInto("usage_days")
        .values(sums.slice(index, index + LIMITS.usageRowsPerStatement))
        .onConflict((conflict) =>
          conflict.columns(["day", "account_id", "node"]).doUpdateSet((row) => ({
            requests: row(row.ref("usage_days.requests"), "+", row.ref("excluded.requests")),
            cpu_us: row(row.ref("usage_days.cpu_us"), "+", row.ref("excluded.cpu_us")),
            kv_reads: row(row.ref("usage_days.kv_reads"), "+", row.ref("excluded.kv_reads")),
            kv_lists: row(row.ref("usage_days.kv_lists"), "+", row.ref("excluded.kv_lists")),
          })),
        )
        .execute();
    }
  }

  /** Removes days that ended before a moment. */
  async prune(transaction: Transaction, moment: string): Promise<void> {
    const day = moment.slice(0, 10);
    await transaction.deleteFrom("usage_days").where("day", "<", day).execute();
  }

  /** What accounts used on a day, by account and node. Those that used nothing have no entry. */
  async read(
    database: Database | Transaction,
    { day, accounts }: { readonly day: string; readonly accounts: ReadonlyArray<AccountId> },
  ): Promise<ReadonlyMap<AccountId, UseByNode>> {
    const uses = new Map<AccountId, Map<NodeName, DayUse>>();
    for (let index = 0; index < accounts.length; index += LIMITS.usageRowsPerStatement) {
      const rows = await database
        .selectFrom("usage_days")
        .select(["account_id", "node", "requests", "cpu_us", "kv_reads", "kv_lists"])
        .where("day", "=", day)
        .where("account_id", "in", accounts.slice(index, index + LIMITS.usageRowsPerStatement))
        .execute();
      for (const row of rows) {
        const account = AccountId.parse(row.account_id);
        const byNode = uses.get(account) ?? new Map<NodeName, DayUse>();
        uses.set(account, byNode);
        byNode.set(NodeName.parse(row.node), {
          requests: row.requests,
          cpuUs: row.cpu_us,
          kvReads: row.kv_reads,
          kvLists: row.kv_lists,
        });
      }
    }
    return uses;
  }

  /** What one account used on a day, on all nodes together. */
  async total(
    database: Database | Transaction,
    { day, account }: { readonly day: string; readonly account: AccountId },
  ): Promise<DayUse> {
    const uses = await this.read(database, { day, accounts: [account] });
    const byNode = uses.get(account);
    return byNode === undefined ? NO_DAY_USE : sumOfDayUses([...byNode.values()]);
  }
}
