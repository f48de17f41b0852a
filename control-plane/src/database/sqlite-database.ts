import SqliteDatabase from "better-sqlite3";
import {
  CompiledQuery,
  Kysely,
  SqliteAdapter,
  SqliteDialect,
  SqliteDriver,
  type DatabaseConnection,
  type Dialect,
  type TransactionSettings,
} from "kysely";
import { OperatorError } from "../operator-error.ts";
import { makePrivate } from "../private-file.ts";
import type { Database } from "./database.ts";
import { KeptStatements } from "./kept-statements.ts";
import { migrate } from "./migrate.ts";
import type { Schema } from "./schema.ts";

// How long another process's write may hold the file: a command beside the control plane, or a backup.
const BUSY_MS = 5_000;

const DAMAGES: ReadonlySet<unknown> = new Set(["SQLITE_NOTADB", "SQLITE_CORRUPT"]);

/** Opens or creates the SQLite file at `path` and brings its tables up to date. End it with `destroy()`. */
export async function openSqliteDatabase(path: string): Promise<Database> {
  const database = connectSqlite(path);
  try {
    await migrate(database);
  } catch (error) {
    await database.destroy();
    throw error;
  }
  return database;
}

/** The same without a look at its tables. Throws an `OperatorError` for a file that is none of SQLite's. */
export function connectSqlite(path: string): Database {
  makePrivate(path);
  const file = new SqliteDatabase(path);
  try {
    file.pragma("journal_mode = WAL");
  } catch (cause) {
    file.close();
    if (!DAMAGES.has((cause as { code?: unknown }).code)) throw cause;
    throw new OperatorError(`${path} is damaged, or not a database: restore a backup`, { cause });
  }
  // With less, an acknowledged deploy is lost in a power cut.
  file.pragma("synchronous = FULL");
  file.pragma("foreign_keys = ON");
  file.pragma(`busy_timeout = ${BUSY_MS}`);
  return overSqlite(file);
}

/** The tables of a file that is open, which `destroy()` closes. */
export function overSqlite(file: SqliteDatabase.Database): Database {
  return new Kysely<Schema>({ dialect: sqliteDialect(file) });
}

function sqliteDialect(file: SqliteDatabase.Database): Dialect {
  const usual = new SqliteDialect({ database: file });
  return {
    createAdapter: () => new TransactionalAdapter(),
    createDriver: () => new EarlyWriterDriver(file),
    createIntrospector: (database) => usual.createIntrospector(database),
    createQueryCompiler: () => usual.createQueryCompiler(),
  };
}

/** SQLite's changes of tables are part of a transaction, too. */
class TransactionalAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class EarlyWriterDriver extends SqliteDriver {
  readonly #file: SqliteDatabase.Database;

  constructor(file: SqliteDatabase.Database) {
    super({ database: new KeptStatements(file) });
    this.#file = file;
  }

  /**
   * A writer says so at its begin. One that reads first and then finds that another process has written
   * since could only fail.
   */
  override async beginTransaction(
    connection: DatabaseConnection,
    settings: TransactionSettings = {},
  ): Promise<void> {
    const begin = settings.accessMode === "read only" ? "begin" : "begin immediate";
    await connection.executeQuery(CompiledQuery.raw(begin));
  }

  /** After some errors, such as that of a full disk, SQLite has undone it already: those are what is told. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#file.inTransaction) await super.rollbackTransaction(connection);
  }
}
