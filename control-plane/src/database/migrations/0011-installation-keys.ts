import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** Keys that outlive the master key, which could not be replaced while they were derived from it. */
export const installationKeys: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("installation_keys")
      .addColumn("name", "text", (column) => column.primaryKey())
      .addColumn("sealed", "text", (column) => column.notNull())
      .execute();
  },
};
