import SqliteDatabase, { type Database } from "better-sqlite3";
import { ContentHash } from "../entry.ts";

/**
 * The large values that a file of `SqliteOrigin` names, now or in its log: the contents that belong to it. The file
 * is read as it is; nobody may be writing it.
 */
export function valuesNamedIn(path: string): ReadonlyArray<ContentHash> {
  const database = new SqliteDatabase(path, { readonly: true, fileMustExist: true });
  try {
    return namedValues(database);
  } finally {
    database.close();
  }
}

/** The same of a file that is open. */
export function namedValues(database: Database): ReadonlyArray<ContentHash> {
  return database
    .prepare<[], string>(
      `SELECT blob_hash FROM entries WHERE blob_hash IS NOT NULL
       UNION SELECT replaced_hash FROM log WHERE replaced_hash IS NOT NULL`,
    )
    .pluck()
    .all()
    .map((hash) => ContentHash.parse(hash));
}
