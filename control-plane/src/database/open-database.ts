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
  if (url === undefined) {
    requireNotMoved(dataDirectory);
    return openSqliteDatabase(file);
  }
  const isLeft = existsSync(file) && readMoveMark(dataDirectory) === undefined;
  if (isLeft) log?.warn({ file }, "the database of the data folder is not used");
  // Loaded only here: its client is of no use to anybody else.
  const { openPostgresDatabase } = await import("./postgres-database.ts");
  const database = await openPostgresDatabase(url, log);
  try {
    await requireArrived(database);
    return database;
  } catch (error) {
    await database.destroy();
    throw error;
  }
}
