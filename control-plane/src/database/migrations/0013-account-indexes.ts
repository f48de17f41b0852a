import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** What an account has, and what may collide with a route, is found without a look at what all others have. */
export const accountIndexes: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createIndex("workers_by_account")
      .on("workers")
      .columns(["account_id", "name"])
      .execute();
    await database.schema
      .createIndex("routes_by_account")
      .on("routes")
      .columns(["account_id", "pattern"])
      .execute();
    await database.schema.createIndex("routes_by_pattern").on("routes").column("pattern").execute();
  },
};
