import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** Which control planes share the database, and where the others reach each. */
export const controlPlanes: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("control_planes")
      .addColumn("id", "text", (column) => column.primaryKey())
      .addColumn("url", "text", (column) => column.notNull())
      .addColumn("alive", "bigint", (column) => column.notNull())
      .execute();
  },
};
