import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** Reads and lists of KV have quotas by day, too. What was used on the day of this step counts as nothing. */
export const usageDayKv: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    for (const column of ["kv_reads", "kv_lists"]) {
      await database.schema
        .alterTable("usage_days")
        .addColumn(column, "bigint", (definition) => definition.notNull().defaultTo(0))
        .execute();
    }
  },
};
