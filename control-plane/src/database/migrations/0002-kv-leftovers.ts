import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** Namespaces that the origin may hold although no row of `kv_namespaces` stands for them. */
export const kvLeftovers: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("kv_leftovers")
      .addColumn("namespace_id", "text", (column) => column.primaryKey())
      .addColumn("state", "text", (column) => column.notNull())
      .execute();
  },
};
