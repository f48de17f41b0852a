import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** What control planes that share a database tell each other of their nodes. */
export const fleetView: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("node_statuses")
      .addColumn("node", "text", (column) => column.primaryKey())
      .addColumn("control_plane", "text", (column) => column.notNull())
      .addColumn("connected", "integer", (column) => column.notNull())
      .addColumn("revision", "bigint", (column) => column.notNull())
      .addColumn("alive", "bigint", (column) => column.notNull())
      .addColumn("written", "bigint", (column) => column.notNull())
      .addColumn("document", "text", (column) => column.notNull())
      .execute();
  },
};
