import { sql, type Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** Which domains accounts claim, and whose they are. Routes from before need no proof: they stay. */
export const domains: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("domains")
      .addColumn("id", "text", (column) => column.primaryKey())
      .addColumn("account_id", "text", (column) =>
        column.notNull().references("accounts.id").onDelete("cascade"),
      )
      .addColumn("name", "text", (column) => column.notNull())
      .addColumn("token", "text", (column) => column.notNull())
      .addColumn("created_at", "text", (column) => column.notNull())
      .addColumn("expires_at", "text")
      .addColumn("proved_at", "text")
      .addUniqueConstraint("domains_of_account", ["account_id", "name"])
      .execute();
    // Any number of accounts may claim a name, and one at most proves it.
    await database.schema
      .createIndex("domains_proved")
      .on("domains")
      .column("name")
      .unique()
      .where(sql.ref("proved_at"), "is not", null)
      .execute();
  },
};
