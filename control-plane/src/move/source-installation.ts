import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { SourceFile } from "@atoll/kv-store/transfer";
import SqliteDatabase from "better-sqlite3";
import { ContentStores, KV_FILE } from "../backup/contents.ts";
import { faultsIn } from "../backup/snapshot.ts";
import type { Database } from "../database/database.ts";
import { DATABASE_FILE } from "../database/open-database.ts";
import { openSqliteDatabase, overSqlite } from "../database/sqlite-database.ts";
import { MASTER_KEY_FILE, MasterKeys } from "../secrets/master-keys.ts";
import { requireMasterKeys } from "../secrets/require-master-keys.ts";
import { MoveError, requireNotMoved } from "./move-mark.ts";

/** An embedded installation that nobody else has open, and nobody can open meanwhile. */
export class SourceInstallation {
  /** Tells it from all others, and stays when the master key is replaced. */
  readonly id: string;
  readonly kv: SourceFile;
  /** The same as `database`: one of the two at a time. */
  readonly file: SqliteDatabase.Database;
  readonly database: Database;
  readonly stores: ContentStores;

  /**
   * Brings its databases up to date, as a start would. Rejected when it is none, in use or damaged, and when the
   * master keys do not open what is sealed in it.
   */
  static async open(options: {
    readonly dataDirectory: string;
    /** `ATOLL_MASTER_KEY`. */
    readonly masterKey: string | undefined;
  }): Promise<SourceInstallation> {
    const { dataDirectory } = options;
    requireEmbedded(dataDirectory);
    // It locks the file, or finds it in use: before anything else is looked at.
    const kv = SourceFile.open(join(dataDirectory, KV_FILE));
    const path = join(dataDirectory, DATABASE_FILE);
    let file: SqliteDatabase.Database | undefined;
    try {
      await (await openSqliteDatabase(path)).destroy();
      file = lock(path);
      // Another move may have had it until now.
      requireNotMoved(dataDirectory);
      const [fault] = faultsIn(file);
      if (fault !== undefined) throw new MoveError(`${path} is damaged: ${fault}`);
      const database = overSqlite(file);
      const id = await installationId(database, options);
      const stores = ContentStores.in(dataDirectory);
      return new SourceInstallation({ id, kv, file, database, stores });
    } catch (error) {
      file?.close();
      kv.close();
      throw explained(error, path);
    }
  }

  private constructor(parts: {
    readonly id: string;
    readonly kv: SourceFile;
    readonly file: SqliteDatabase.Database;
    readonly database: Database;
    readonly stores: ContentStores;
  }) {
    this.id = parts.id;
    this.kv = parts.kv;
    this.file = parts.file;
    this.database = parts.database;
    this.stores = parts.stores;
  }

  /** May be called twice. */
  async close(): Promise<void> {
    this.kv.close();
    await this.database.destroy();
    // Which a database without a statement so far does not do.
    this.file.close();
  }
}

function requireEmbedded(dataDirectory: string): void {
  if (!existsSync(join(dataDirectory, DATABASE_FILE))) {
    throw new MoveError(`${dataDirectory} is not the data folder of a control plane`);
  }
  if (existsSync(join(dataDirectory, KV_FILE))) return;
  throw new MoveError(
    `${dataDirectory} has no ${KV_FILE}: its keys and values are elsewhere already, and only a whole installation is moved`,
  );
}

/** In this mode the first access locks the file for good, if nobody else has it open. */
function lock(path: string): SqliteDatabase.Database {
  const file = new SqliteDatabase(path, { fileMustExist: true, timeout: 0 });
  try {
    file.pragma("locking_mode = EXCLUSIVE");
    file.exec("BEGIN EXCLUSIVE; COMMIT");
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

function explained(error: unknown, path: string): unknown {
  if (!(error instanceof SqliteDatabase.SqliteError)) return error;
  const text = error.code.startsWith("SQLITE_BUSY")
    ? `${path} is in use: stop all that has it open first`
    : `${path} can't be opened: ${error.message}`;
  return new MoveError(text, { cause: error });
}

async function installationId(
  database: Database,
  options: { readonly dataDirectory: string; readonly masterKey: string | undefined },
): Promise<string> {
  const file = join(options.dataDirectory, MASTER_KEY_FILE);
  if (options.masterKey === undefined && !existsSync(file)) {
    throw new MoveError(
      `${options.dataDirectory} has no ${MASTER_KEY_FILE}: set ATOLL_MASTER_KEY to the one that the control plane runs with`,
    );
  }
  const keys = await MasterKeys.load({ file, fromEnvironment: options.masterKey });
  const { fleetSeed } = await requireMasterKeys(database, keys);
  return createHash("sha256").update("atoll installation\n").update(fleetSeed).digest("hex");
}
