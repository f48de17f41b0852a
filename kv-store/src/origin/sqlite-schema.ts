import type { Database } from "better-sqlite3";
import { KvError } from "../errors.ts";

// One step per version of the file's layout, counted in SQLite's own `user_version`. A step that was
// released is never changed: files out there have been through it.
const STEPS: ReadonlyArray<string> = [
  `
  -- AUTOINCREMENT: the rows of a removed namespace are swept later, so its number must not be reused.
  CREATE TABLE namespaces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL DEFAULT 0,
    -- Records up to this revision have left the log.
    log_start INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0
  );

  -- Numbers whose rows are still to be swept.
  CREATE TABLE removed_namespaces (id INTEGER PRIMARY KEY);

  -- A rowid and a unique key instead of WITHOUT ROWID, which values of 1 KB make three times larger.
  -- Large columns come last: reading those before them leaves their overflow pages alone.
  CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    namespace_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    expires_at INTEGER,
    metadata TEXT,
    blob_hash TEXT,
    blob_size INTEGER,
    value BLOB
  );
  CREATE UNIQUE INDEX entries_by_key ON entries (namespace_id, key);
  CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;

  CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    namespace_id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    operation BLOB NOT NULL
  );
  CREATE UNIQUE INDEX log_by_revision ON log (namespace_id, revision);
  `,
];

/** Brings a file to this version's layout. Fails with `storage_failed` on a file of a later version. */
export function migrate(database: Database): void {
  const version = Number(database.pragma("user_version", { simple: true }));
  if (version > STEPS.length) {
    throw new KvError(
      "storage_failed",
      `${database.name} has layout ${version}, and this version knows up to ${STEPS.length}: start a newer one`,
    );
  }
  const run = database.transaction(() => {
    for (const step of STEPS.slice(version)) database.exec(step);
    database.pragma(`user_version = ${STEPS.length}`);
  });
  run.immediate();
}
