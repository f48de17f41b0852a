import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** What accounts used by day, for their quotas: not added up from all rows of usage whenever it is asked for. */
export const usageDays: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("usage_days")
      .addColumn("account_id", "text", (column) => column.notNull().references("accounts.id"))
      .addColumn("day", "text", (column) => column.notNull())
      .addColumn("node", "text", (column) => column.notNull())
      .addColumn("requests", "bigint", (column) => column.notNull())
      .addColumn("cpu_us", "bigint", (column) => column.notNull())
      .addPrimaryKeyConstraint("usage_days_key", ["day", "account_id", "node"])
      .execute();
  },
};
