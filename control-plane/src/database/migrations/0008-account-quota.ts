import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** What an account may have, as one document: nothing is looked up by it. */
export const accountQuota: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .alterTable("accounts")
      .addColumn("quota", "text", (column) => column.notNull().defaultTo("{}"))
      .execute();
  },
};
