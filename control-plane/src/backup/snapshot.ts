import SqliteDatabase from "better-sqlite3";

/** A database's file, and where its copy goes. */
interface Copy {
  readonly from: string;
  readonly to: string;
}

// How long a write of another process may hold up the moment.
const BUSY_MS = 10_000;
// All that is left, in one step: steps of few pages begin again with each write of another process.
const ALL_PAGES = 0x7fffffff;

/**
 * Copies two databases, which others may be writing, as of one instant at which nobody wrote the first. The copies
 * are not synced. See BACKUP.md.
 */
export async function snapshotTogether(first: Copy, second: Copy): Promise<void> {
  const opened: SqliteDatabase.Database[] = [];
  const open = (path: string, readonly: boolean): SqliteDatabase.Database => {
    const database = new SqliteDatabase(path, { readonly, fileMustExist: true, timeout: BUSY_MS });
    opened.push(database);
    return database;
  };
  try {
    const gate = open(first.from, false);
    const sources = [open(first.from, true), open(second.from, true)] as const;
    gate.exec("BEGIN IMMEDIATE");
    try {
      for (const source of sources) beginReading(source);
    } finally {
      gate.exec("ROLLBACK");
    }
    await sources[0].backup(first.to, { progress: () => ALL_PAGES });
    await sources[1].backup(second.to, { progress: () => ALL_PAGES });
  } finally {
    for (const database of opened) database.close();
  }
  for (const { to } of [first, second]) makeSingleFile(to);
}

/** A copy has the mode of its source, in which even a reader leaves files beside it. */
function makeSingleFile(path: string): void {
  const database = new SqliteDatabase(path);
  database.pragma("journal_mode = DELETE");
  database.close();
}

/** A transaction sees the database as of its first read. */
function beginReading(database: SqliteDatabase.Database): void {
  database.exec("BEGIN");
  database.prepare("SELECT count(*) FROM sqlite_schema").get();
}

/** What SQLite finds wrong with a file that nobody writes; empty when nothing is. */
export function faultsOf(path: string): ReadonlyArray<string> {
  const database = new SqliteDatabase(path, { readonly: true, fileMustExist: true });
  try {
    return faultsIn(database);
  } finally {
    database.close();
  }
}

/** The same of a file that is open. */
export function faultsIn(database: SqliteDatabase.Database): ReadonlyArray<string> {
  const findings = database.pragma("integrity_check(20)") as ReadonlyArray<{
    readonly integrity_check: string;
  }>;
  const orphans = database.pragma("foreign_key_check") as ReadonlyArray<{
    readonly table: string;
  }>;
  return [
    ...findings.map(({ integrity_check: text }) => text).filter((text) => text !== "ok"),
    ...orphans.map(({ table }) => `a row of ${table} refers to none`),
  ];
}
