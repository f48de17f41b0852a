import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

const OPTIONAL_COLUMNS = ["worker", "namespace_id", "expires_at", "last_used_at"] as const;

/** What a token may do, on what, and until when. Those that there are could do everything, so they are admins'. */
export const tokenGrants: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .alterTable("api_tokens")
      .addColumn("role", "text", (column) => column.notNull().defaultTo("admin"))
      .execute();
    for (const column of OPTIONAL_COLUMNS) {
      await database.schema.alterTable("api_tokens").addColumn(column, "text").execute();
    }
    await database.schema
      .createIndex("api_tokens_by_account")
      .on("api_tokens")
      .column("account_id")
      .execute();
  },
};
