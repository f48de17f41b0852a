import SqliteDatabase from "better-sqlite3";
import { Kysely, SqliteDialect, type Transaction as KyselyTransaction } from "kysely";
import { Migrator } from "kysely/migration";
import { MIGRATIONS } from "./migrations/index.ts";
import type { Schema } from "./schema.ts";

/**
 * The control plane's tables. Queries stay within what SQLite and PostgreSQL both understand. What a
 * transaction resolved with is on disk.
 */
export type Database = Kysely<Schema>;
/** Stores take this, so that a service can join what several of them do into one transaction. */
export type Transaction = KyselyTransaction<Schema>;

/** Name of the embedded database in a control plane's data directory. */
export const DATABASE_FILE = "control-plane.sqlite";

// How long another process's write may hold the file: none is expected, but a backup tool may.
const BUSY_MS = 5_000;

/** Opens or creates the SQLite file at `path` and brings its tables up to date. End it with `destroy()`. */
export async function openSqliteDatabase(path: string): Promise<Database> {
  const file = new SqliteDatabase(path);
  file.pragma("journal_mode = WAL");
  // With less, an acknowledged deploy is lost in a power cut.
  file.pragma("synchronous = FULL");
  file.pragma("foreign_keys = ON");
  file.pragma(`busy_timeout = ${BUSY_MS}`);
  const database = new Kysely<Schema>({ dialect: new SqliteDialect({ database: file }) });
  try {
    await migrate(database);
  } catch (error) {
    await database.destroy();
    throw error;
  }
  return database;
}

async function migrate(database: Database): Promise<void> {
  const provider = { getMigrations: () => Promise.resolve(MIGRATIONS) };
  const { error } = await new Migrator({ db: database, provider }).migrateToLatest();
  if (error !== undefined) {
    throw new Error("the database could not be brought up to date", { cause: error });
  }
}
