import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** Installations that `atoll migrate` moves here: until one is whole, nobody may use the database. */
export const moves: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("moves")
      .addColumn("installation", "text", (column) => column.primaryKey())
      .addColumn("blob_store", "text", (column) => column.notNull())
      .addColumn("started_at", "text", (column) => column.notNull())
      .addColumn("finished_at", "text")
      .execute();
  },
};
