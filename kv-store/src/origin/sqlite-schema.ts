import type { Database } from "better-sqlite3";
import { KvError } from "../errors.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest, StateSum } from "../state-digest.ts";
import { entryOf, type EntryRow } from "./sqlite-tables.ts";

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
  `
  -- Each entry gets a digest, before the large columns: replacing it needs the digest of what was there.
  ALTER TABLE entries RENAME TO entries_without_digest;
  CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    namespace_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    digest BLOB NOT NULL,
    expires_at INTEGER,
    metadata TEXT,
    blob_hash TEXT,
    blob_size INTEGER,
    value BLOB
  );
  INSERT INTO entries
    SELECT id, namespace_id, key, entry_digest(key, expires_at, metadata, blob_hash, blob_size, value),
      expires_at, metadata, blob_hash, blob_size, value
    FROM entries_without_digest;
  DROP TABLE entries_without_digest;
  CREATE UNIQUE INDEX entries_by_key ON entries (namespace_id, key);
  CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;

  -- The digests of the state as of the revision, and as of the log's start.
  ALTER TABLE namespaces ADD COLUMN digest TEXT NOT NULL DEFAULT '00000000000000000000000000000000';
  ALTER TABLE namespaces ADD COLUMN log_start_digest TEXT NOT NULL DEFAULT '00000000000000000000000000000000';

  -- What the namespace held after each record written so far is not known any more: the log begins anew.
  DROP TABLE log;
  CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    namespace_id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    digest TEXT NOT NULL,
    operation BLOB NOT NULL
  );
  CREATE UNIQUE INDEX log_by_revision ON log (namespace_id, revision);
  UPDATE namespaces SET
    digest = (SELECT state_digest(entries.digest) FROM entries WHERE namespace_id = namespaces.id),
    log_start = revision,
    log_bytes = 0;
  UPDATE namespaces SET log_start_digest = digest;
  `,
  `
  -- Large values that may be named, and when each was last claimed. What names them is looked up, not counted:
  -- a count could be wrong.
  CREATE TABLE large_values (hash TEXT PRIMARY KEY, claimed_ms INTEGER NOT NULL) WITHOUT ROWID;
  INSERT INTO large_values SELECT DISTINCT blob_hash, 0 FROM entries WHERE blob_hash IS NOT NULL;
  CREATE INDEX entries_by_blob ON entries (blob_hash) WHERE blob_hash IS NOT NULL;
  -- The large value in whose place the record's operation put something else, or nothing.
  ALTER TABLE log ADD COLUMN replaced_hash TEXT;
  CREATE INDEX log_by_replaced ON log (replaced_hash) WHERE replaced_hash IS NOT NULL;
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
  addDigestFunctions(database);
  const run = database.transaction(() => {
    for (const step of STEPS.slice(version)) database.exec(step);
    database.pragma(`user_version = ${STEPS.length}`);
  });
  run.immediate();
}

/** What the steps need of the code: the digests of `state-digest.ts`. */
function addDigestFunctions(database: Database): void {
  database.function(
    "entry_digest",
    { deterministic: true, varargs: true },
    (...columns: unknown[]) => {
      const [key, expires_at, metadata, blob_hash, blob_size, value] = columns;
      const row = { key, expires_at, metadata, blob_hash, blob_size, value } as EntryRow; // as the step selects
      return entryDigest(encodeOperation({ kind: "put", ...entryOf(row) }));
    },
  );
  database.aggregate("state_digest", {
    start: () => new StateSum(),
    step: (sum: StateSum, digest: unknown) => sum.toggle(digest as Buffer), // as the step selects
    result: (sum: StateSum) => sum.digest,
  });
}
