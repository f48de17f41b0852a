import type { Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** The tables of that day, as far as this step reads them. */
interface Routes {
  routes: { id: string; pattern: string; host_key: string };
}

/**
 * What may collide with a route is found by its host, also when that is a wildcard: the labels from the last to the
 * first, so that all below a name lies together. By the pattern it took a dozen ranges, for which SQLite
 * read all routes, and PostgreSQL all workers.
 */
export const routeHosts: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .alterTable("routes")
      .addColumn("host_key", "text", (column) => column.notNull().defaultTo(""))
      .execute();
    const tables = database as Kysely<Routes>;
    for (const { id, pattern } of await tables
      .selectFrom("routes")
      .select(["id", "pattern"])
      .execute()) {
      const host = pattern.slice(0, pattern.indexOf("/"));
      const host_key = host.split(".").toReversed().join(".");
      await tables.updateTable("routes").set({ host_key }).where("id", "=", id).execute();
    }
    await database.schema.createIndex("routes_by_host").on("routes").column("host_key").execute();
    await database.schema.dropIndex("routes_by_pattern").execute();
  },
};
