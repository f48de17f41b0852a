import type { Log } from "@atoll/kv-store";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { requireArrived } from "../move/arrival.ts";
import { readMoveMark, requireNotMoved } from "../move/move-mark.ts";
import type { Database, DatabasePlace } from "./database.ts";
import { openSqliteDatabase } from "./sqlite-database.ts";

/** Name of the embedded database in a control plane's data directory. */
export const DATABASE_FILE = "control-plane.sqlite";

/**
 * Opens or creates the tables at a place, and brings them up to date. Rejected with a `MoveError` when they were moved
 * elsewhere, or are on their way to there. End it with `destroy()`.
 */
export async function openDatabase(place: DatabasePlace, log?: Log): Promise<Database> {
  const { dataDirectory, databaseUrl: url } = place;
  const file = join(dataDirectory, DATABASE_FILE);
  if (url === undefined) return openEmbedded(dataDirectory, file);
  const isLeft = existsSync(file) && readMoveMark(dataDirectory) === undefined;
  if (isLeft) log?.warn({ file }, "the database of the data folder is not used");
  // Loaded only here: its client is of no use to anybody else.
  const { openPostgresDatabase } = await import("./postgres-database.ts");
  const database = await openPostgresDatabase(url, log);
  return openedUnless(database, () => requireArrived(database));
}

async function openEmbedded(dataDirectory: string, file: string): Promise<Database> {
  requireNotMoved(dataDirectory);
  const database = await openSqliteDatabase(file);
  // Once more: a move that held the file when this began to wait for it has ended since.
  return openedUnless(database, async () => requireNotMoved(dataDirectory));
}

/** The database, unless `refuse` does: then it is closed. */
async function openedUnless(database: Database, refuse: () => Promise<void>): Promise<Database> {
  try {
    await refuse();
    return database;
  } catch (error) {
    await database.destroy();
    throw error;
  }
}
