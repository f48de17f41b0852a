import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** What is stored of code and files, so that what nothing names can be removed. */
export const codeBlobs: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable("code_blobs")
      .addColumn("hash", "text", (column) => column.primaryKey())
      .addColumn("unnamed_at", "text")
      .addColumn("removing_at", "text")
      .execute();
    await database.schema
      .alterTable("asset_contents")
      .addColumn("used_at", "text", (column) => column.notNull().defaultTo(""))
      .execute();
    // By which the files that a blob is are found when it might be removed.
    await database.schema
      .createIndex("asset_contents_by_blob")
      .on("asset_contents")
      .column("blob")
      .execute();
  },
};
