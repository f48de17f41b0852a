import { KvQuota } from "@atoll/kv-store";
import type { Selectable } from "kysely";
import { AccountId, AccountSettings, type DayBounds } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { nextQuotaChange } from "../usage/quota-changes.ts";
import { AccountQuota, dayBounds } from "./quota.ts";
import type { Account, ConfiguredAccount } from "./schemas.ts";

/** Accounts, and what they are granted. */
export class AccountStore {
  /** The account that was made first; `undefined` when there is none. */
  async first(database: Database | Transaction): Promise<Account | undefined> {
    const row = await database
      .selectFrom("accounts")
      .select(["id", "name"])
      .orderBy("created_at")
      .limit(1)
      .executeTakeFirst();
    return row && { id: AccountId.parse(row.id), name: row.name };
  }

  async find(database: Database | Transaction, id: AccountId): Promise<Account | undefined> {
    const row = await database
      .selectFrom("accounts")
      .select(["id", "name"])
      .where("id", "=", id)
      .executeTakeFirst();
    return row && { id: AccountId.parse(row.id), name: row.name };
  }

  /** How many there are, counted up to `most`. */
  async count(database: Database | Transaction, most: number): Promise<number> {
    const rows = await database.selectFrom("accounts").select("id").limit(most).execute();
    return rows.length;
  }

  /** Every account, the oldest first. */
  async list(database: Database | Transaction): Promise<ReadonlyArray<ConfiguredAccount>> {
    const rows = await database.selectFrom("accounts").selectAll().orderBy("created_at").execute();
    return rows.map(toConfigured);
  }

  /** Accounts whose quotas changed since a number of `usage/quota-changes.ts`. */
  async listChanged(
    database: Database | Transaction,
    since: number,
  ): Promise<ReadonlyArray<ConfiguredAccount>> {
    const accounts = database.selectFrom("accounts").selectAll();
    return (await accounts.where("quota_changed", ">", since).execute()).map(toConfigured);
  }

  /** Of an account that is known to exist. */
  async configured(database: Database | Transaction, id: AccountId): Promise<ConfiguredAccount> {
    const row = await database
      .selectFrom("accounts")
      .selectAll()
      .where("id", "=", id)
      .executeTakeFirstOrThrow();
    return toConfigured(row);
  }

  /** Of some accounts, by id. */
  async settingsOf(
    database: Database | Transaction,
    ids: ReadonlyArray<AccountId>,
  ): Promise<ReadonlyMap<AccountId, AccountSettings>> {
    const distinct = [...new Set(ids)];
    const rows = await database
      .selectFrom("accounts")
      .selectAll()
      .where("id", "in", distinct)
      .execute();
    return new Map(rows.map(toConfigured).map(({ id, settings }) => [id, settings]));
  }

  /** What some accounts may use on a day. */
  async dayBoundsOf(
    database: Database | Transaction,
    ids: ReadonlyArray<AccountId>,
  ): Promise<ReadonlyMap<AccountId, DayBounds>> {
    const rows = await database
      .selectFrom("accounts")
      .select(["id", "quota"])
      .where("id", "in", ids)
      .execute();
    return new Map(rows.map(({ id, quota }) => [AccountId.parse(id), toDayBounds(quota)]));
  }

  async configure(
    transaction: Transaction,
    { id, settings, kvQuota, quota }: Omit<ConfiguredAccount, "name">,
  ): Promise<void> {
    await transaction
      .updateTable("accounts")
      .set({
        cells: settings.cells,
        memory_mib: settings.memoryMib,
        kv_keys_max: kvQuota.keysMax,
        kv_bytes_max: kvQuota.bytesMax,
        kv_writes_per_second_max: kvQuota.writesPerSecondMax,
        kv_writes_per_day_max: kvQuota.writesPerDayMax,
        quota: JSON.stringify(quota),
        quota_changed: await nextQuotaChange(transaction),
      })
      .where("id", "=", id)
      .execute();
  }

  /**
   * Adds one that counts as made after all that are there, also when the clock was set back since: whose the
   * installation is, is decided by who was first. In a writer's transaction.
   */
  async insert(
    transaction: Transaction,
    account: Account & { readonly createdAt: string },
  ): Promise<void> {
    const { id, name, createdAt } = account;
    const { latest } = await transaction
      .selectFrom("accounts")
      .select(({ fn }) => fn.max<string | null>("created_at").as("latest"))
      .executeTakeFirstOrThrow();
    const isLater = latest === null || latest < createdAt;
    const at = isLater ? createdAt : new Date(Date.parse(latest) + 1).toISOString();
    await transaction.insertInto("accounts").values({ id, name, created_at: at }).execute();
  }
}

function toConfigured(row: Selectable<Schema["accounts"]>): ConfiguredAccount {
  return {
    id: AccountId.parse(row.id),
    name: row.name,
    settings: AccountSettings.parse({ cells: row.cells, memoryMib: row.memory_mib }),
    kvQuota: KvQuota.parse({
      keysMax: toNumber(row.kv_keys_max),
      bytesMax: toNumber(row.kv_bytes_max),
      writesPerSecondMax: toNumber(row.kv_writes_per_second_max),
      writesPerDayMax: toNumber(row.kv_writes_per_day_max),
    }),
    quota: AccountQuota.parse(JSON.parse(row.quota)),
  };
}

function toDayBounds(quota: string): DayBounds {
  return dayBounds(AccountQuota.parse(JSON.parse(quota)));
}

function toNumber(column: number | string | null): number | null {
  return column === null ? null : Number(column);
}
