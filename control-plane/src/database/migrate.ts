import { Migrator } from "kysely/migration";
import type { Database } from "./database.ts";
import { MIGRATIONS } from "./migrations/index.ts";

/**
 * Brings the tables up to date: all steps in one transaction, so that a crash leaves none half done. Of two
 * processes that do it at once, one waits for the other.
 */
export async function migrate(
  database: Database,
  options: { readonly schema?: string; readonly target?: string } = {},
): Promise<void> {
  const provider = { getMigrations: () => Promise.resolve(MIGRATIONS) };
  const place = options.schema === undefined ? {} : { migrationTableSchema: options.schema };
  const migrator = new Migrator({ db: database, provider, ...place });
  const { error } = await (options.target === undefined
    ? migrator.migrateToLatest()
    : migrator.migrateTo(options.target));
  if (error !== undefined) {
    throw new Error("the database could not be brought up to date", { cause: error });
  }
}
