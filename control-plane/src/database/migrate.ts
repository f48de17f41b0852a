import { sql } from "kysely";
import { Migrator } from "kysely/migration";
import { OperatorError } from "../operator-error.ts";
import type { Database } from "./database.ts";
import { MIGRATIONS } from "./migrations/index.ts";

/**
 * Brings the tables up to date: all steps in one transaction, so that a crash leaves none half done. Of two
 * processes that do it at once, one waits for the other. Rejected, with nothing changed, when a later version did so.
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
  if (error === undefined) return;
  const later = await findLaterStep(database, options.schema);
  if (later === undefined) {
    throw new Error("the database could not be brought up to date", { cause: error });
  }
  throw new OperatorError(
    `The database is of a newer Atoll, which took the step ${later}: start that one`,
  );
}

/** A step that was taken, and that this version does not know. */
async function findLaterStep(database: Database, schema?: string): Promise<string | undefined> {
  const table = sql.table(
    [...(schema === undefined ? [] : [schema]), "kysely_migration"].join("."),
  );
  const taken = await sql<{ readonly name: string }>`select name from ${table}`
    .execute(database)
    // What kept the steps from being taken mostly keeps this from being read, and is told.
    .catch(() => ({ rows: [] }));
  return taken.rows.find(({ name }) => !Object.hasOwn(MIGRATIONS, name))?.name;
}
