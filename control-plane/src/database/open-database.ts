import type { Log } from "@atoll/kv-store";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Database, DatabasePlace } from "./database.ts";
import { openSqliteDatabase } from "./sqlite-database.ts";

/** Name of the embedded database in a control plane's data directory. */
export const DATABASE_FILE = "control-plane.sqlite";

/** Opens or creates the tables at a place, and brings them up to date. End it with `destroy()`. */
export async function openDatabase(place: DatabasePlace, log?: Log): Promise<Database> {
  const { dataDirectory, databaseUrl: url } = place;
  const file = join(dataDirectory, DATABASE_FILE);
  if (url === undefined) return openSqliteDatabase(file);
  if (existsSync(file)) log?.warn({ file }, "the database of the data folder is not used");
  // Loaded only here: its client is of no use to anybody else.
  const { openPostgresDatabase } = await import("./postgres-database.ts");
  return openPostgresDatabase(url, log);
}
