import { chunksOf } from "../chunks-of.ts";
import {
  AccountId,
  accountOfKey,
  NodeName,
  sumOfDayUses,
  type DayUse,
  type UsageRow,
} from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { LIMITS } from "../limits.ts";
import { nextQuotaChange } from "./quota-changes.ts";

/** Stands in a node's place for what calls of the API used: no node can have this name. */
export const API_CALLS = "/client/v4";

/** Where something was used. */
type UsePlace = NodeName | typeof API_CALLS;

/** What an account used on a day, by place. */
export type UseByPlace = ReadonlyMap<UsePlace, DayUse>;

/** What an account used on a day in one place. */
export interface PlacedUse {
  readonly account: string;
  readonly day: string;
  readonly place: UsePlace;
  readonly use: DayUse;
}

/** What counts for quotas by day: a sum for each account, day and place; of nodes, beside the rows that it is made of. */
export class UsageDayStore {
  /** Adds what accounts that exist used on a node. In the transaction of the rows, so that each counts once here, too. */
  async addRows(
    transaction: Transaction,
    added: { readonly node: NodeName; readonly rows: ReadonlyArray<UsageRow> },
  ): Promise<void> {
    const counted = added.rows.filter(({ isStatic }) => !isStatic);
    const byDay = Map.groupBy(
      counted,
      ({ hour, worker }) => `${hour.slice(0, 10)} ${accountOfKey(worker)}`,
    );
    const uses = [...byDay].map(([key, rows]): PlacedUse => {
      const [day = "", account = ""] = key.split(" ");
      return { day, account, place: added.node, use: sumOfDayUses(rows) };
    });
    await this.add(transaction, uses);
  }

  /** Keeps other transactions from what is added to sums, in the order in which they are given. */
  async lock(transaction: Transaction, sums: ReadonlyArray<Omit<PlacedUse, "use">>): Promise<void> {
    const rows = sums.map(({ account, day, place }) => ({
      ...{ account_id: account, day, node: place },
      ...{ requests: 0, cpu_us: 0, kv_reads: 0, kv_lists: 0 },
    }));
    for (const some of chunksOf(rows, LIMITS.usageRowsPerStatement)) {
      await transaction
        .insertInto("usage_days")
        .values(some)
        .onConflict((conflict) =>
          conflict
            .columns(["day", "account_id", "node"])
            .doUpdateSet((row) => ({ requests: row.ref("usage_days.requests") })),
        )
        .execute();
    }
  }

  /** Adds what accounts that exist used. Nearly the last of a transaction, as it takes a number of `quota-changes.ts`. */
  async add(transaction: Transaction, uses: ReadonlyArray<PlacedUse>): Promise<void> {
    if (uses.length === 0) return;
    const changed = await nextQuotaChange(transaction);
    const sums = uses.map(({ account, day, place, use }) => {
      const { requests, cpuUs, kvReads, kvLists } = use;
      const used = { requests, cpu_us: cpuUs, kv_reads: kvReads, kv_lists: kvLists };
      return { account_id: account, day, node: place, ...used, changed };
    });
    for (const some of chunksOf(sums, LIMITS.usageRowsPerStatement)) {
      await transaction
        .insertInto("usage_days")
        .values(some)
        .onConflict((conflict) =>
          conflict.columns(["day", "account_id", "node"]).doUpdateSet((row) => ({
            requests: row(row.ref("usage_days.requests"), "+", row.ref("excluded.requests")),
            cpu_us: row(row.ref("usage_days.cpu_us"), "+", row.ref("excluded.cpu_us")),
            kv_reads: row(row.ref("usage_days.kv_reads"), "+", row.ref("excluded.kv_reads")),
            kv_lists: row(row.ref("usage_days.kv_lists"), "+", row.ref("excluded.kv_lists")),
            changed,
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

  /** What accounts used on a day, by account and place. Those that used nothing have no entry. */
  async read(
    database: Database | Transaction,
    { day, accounts }: { readonly day: string; readonly accounts: ReadonlyArray<AccountId> },
  ): Promise<ReadonlyMap<AccountId, UseByPlace>> {
    const found: Row[] = [];
    for (const some of chunksOf(accounts, LIMITS.usageRowsPerStatement)) {
      const rows = await database
        .selectFrom("usage_days")
        .select(COLUMNS)
        .where("day", "=", day)
        .where("account_id", "in", some)
        .execute();
      found.push(...rows);
    }
    return byAccount(found);
  }

  /** The sums of a day that changed since a number of `quota-changes.ts`. */
  async readChanged(
    database: Database | Transaction,
    { day, since }: { readonly day: string; readonly since: number },
  ): Promise<ReadonlyMap<AccountId, UseByPlace>> {
    const rows = database.selectFrom("usage_days").select(COLUMNS).where("day", "=", day);
    return byAccount(await rows.where("changed", ">", since).execute());
  }

  /** What one account used on a day, everywhere together. */
  async total(
    database: Database | Transaction,
    { day, account }: { readonly day: string; readonly account: AccountId },
  ): Promise<DayUse> {
    const uses = await this.read(database, { day, accounts: [account] });
    return sumOfDayUses([...(uses.get(account)?.values() ?? [])]);
  }
}

const COLUMNS = ["account_id", "node", "requests", "cpu_us", "kv_reads", "kv_lists"] as const;
type Row = Pick<Schema["usage_days"], (typeof COLUMNS)[number]>;

function byAccount(rows: ReadonlyArray<Row>): ReadonlyMap<AccountId, UseByPlace> {
  const uses = new Map<AccountId, Map<UsePlace, DayUse>>();
  for (const row of rows) {
    const account = AccountId.parse(row.account_id);
    const byPlace = uses.get(account) ?? new Map<UsePlace, DayUse>();
    uses.set(account, byPlace);
    byPlace.set(row.node === API_CALLS ? API_CALLS : NodeName.parse(row.node), {
      requests: row.requests,
      cpuUs: row.cpu_us,
      kvReads: row.kv_reads,
      kvLists: row.kv_lists,
    });
  }
  return uses;
}
