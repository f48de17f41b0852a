import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

const COLUMNS = [
  "kv_keys_max",
  "kv_bytes_max",
  "kv_writes_per_second_max",
  "kv_writes_per_day_max",
] as const;

/** What an account may have and do in its KV namespaces; no bound where a column is null. */
export const kvQuotas: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    for (const column of COLUMNS) {
      await database.schema.alterTable("accounts").addColumn(column, "bigint").execute();
    }
  },
};
