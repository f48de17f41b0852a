import SqliteDatabase from "better-sqlite3";
import { ControlPlaneError } from "../errors.ts";

/** The database can't be reached, or can't do anything now. */
export function databaseUnavailable(message: string, cause: unknown): ControlPlaneError {
  return new ControlPlaneError("database_unavailable", message, { cause });
}

export function isDatabaseUnavailable(error: unknown): boolean {
  return error instanceof ControlPlaneError && error.code === "database_unavailable";
}

/** The same of either engine: of the embedded one nothing but the call that met it says so. */
export function isDatabaseFault(error: unknown): boolean {
  return isDatabaseUnavailable(error) || sqliteUnavailable(error) !== undefined;
}

/** What of SQLite's errors is not about the statement but about the file or its disk, and passes. */
const PASSING: ReadonlyArray<readonly [prefix: string, message: string]> = [
  ["SQLITE_FULL", "The disk of the control plane is full: nothing was changed"],
  ["SQLITE_BUSY", "Another process holds the control plane's database: nothing was changed"],
  ["SQLITE_IOERR", "The control plane's database can't be read or written"],
  ["SQLITE_READONLY", "The control plane's database can't be written"],
  ["SQLITE_CANTOPEN", "The control plane's database can't be opened"],
];

/** An error of the embedded database as `database_unavailable`; `undefined` for all others. */
export function sqliteUnavailable(thrown: unknown): ControlPlaneError | undefined {
  if (!(thrown instanceof SqliteDatabase.SqliteError)) return undefined;
  const known = PASSING.find(([prefix]) => thrown.code.startsWith(prefix));
  return known && databaseUnavailable(`${known[1]}. Try again soon`, thrown);
}
