import SqliteDatabase from "better-sqlite3";

/** A file that no other process holds meanwhile. */
export interface FileLock {
  /** May be called twice. */
  close(): void;
}

/** Takes the lock of a file, which it makes; `undefined` where another process holds it. */
export function takeFileLock(path: string): FileLock | undefined {
  // A lock of SQLite's ends with its process, however that ends.
  const file = new SqliteDatabase(path, { timeout: 0 });
  try {
    file.exec("BEGIN EXCLUSIVE");
    return file;
  } catch (error) {
    file.close();
    if ((error as { code?: unknown }).code === "SQLITE_BUSY") return undefined;
    throw error;
  }
}
