import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

const COUNTS = [
  ...["requests", "errors", "wall_ms", "bytes_in", "bytes_out", "cpu_us"],
  ...["subrequests", "subrequest_bytes_out", "subrequest_bytes_in"],
  ...["kv_reads", "kv_writes", "kv_deletes", "kv_lists", "memory_peak_bytes"],
];

/** What workers used, and up to which batch each node has told it. */
export const usage: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .alterTable("nodes")
      .addColumn("usage_sequence", "bigint", (column) => column.notNull().defaultTo(0))
      .execute();
    let table = database.schema
      .createTable("usage")
      .addColumn("account_id", "text", (column) => column.notNull().references("accounts.id"))
      // Names, not references: what was used has to be known when worker and version are gone.
      .addColumn("worker", "text", (column) => column.notNull())
      .addColumn("version_id", "text", (column) => column.notNull())
      .addColumn("node", "text", (column) => column.notNull())
      .addColumn("hour", "text", (column) => column.notNull());
    for (const name of COUNTS) {
      table = table.addColumn(name, "bigint", (column) => column.notNull());
    }
    await table
      .addPrimaryKeyConstraint("usage_key", ["account_id", "worker", "version_id", "hour", "node"])
      .execute();
    await database.schema.createIndex("usage_by_hour").on("usage").column("hour").execute();
  },
};
