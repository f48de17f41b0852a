import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** What accounts may use, and used on a day, has the number of its latest change: whoever follows reads what is new. */
export const quotaChanges: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .alterTable("accounts")
      .addColumn("quota_changed", "bigint", (column) => column.notNull().defaultTo(0))
      .execute();
    await database.schema
      .alterTable("usage_days")
      .addColumn("changed", "bigint", (column) => column.notNull().defaultTo(0))
      .execute();
    await database.schema
      .createIndex("accounts_by_change")
      .on("accounts")
      .column("quota_changed")
      .execute();
    await database.schema
      .createIndex("usage_days_by_change")
      .on("usage_days")
      .columns(["day", "changed"])
      .execute();
  },
};
