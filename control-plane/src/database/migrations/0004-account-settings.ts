import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** What an operator grants an account. */
export const accountSettings: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .alterTable("accounts")
      .addColumn("cells", "text", (column) => column.notNull().defaultTo("per-worker"))
      .execute();
    await database.schema
      .alterTable("accounts")
      .addColumn("memory_mib", "integer", (column) => column.notNull().defaultTo(128))
      .execute();
  },
};
