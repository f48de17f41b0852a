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
  -- Each entry gets the revision of the write that put it, before the large columns. Of entries from before it
  -- is not known: the namespace's is as good, because it stays the same until the key is written again.
  ALTER TABLE entries RENAME TO entries_without_revision;
  CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    namespace_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    digest BLOB NOT NULL,
    revision INTEGER NOT NULL,
    expires_at INTEGER,
    metadata TEXT,
    blob_hash TEXT,
    blob_size INTEGER,
    value BLOB
  );
  INSERT INTO entries
    SELECT entries_without_revision.id, namespace_id, key, entries_without_revision.digest, revision,
      expires_at, metadata, blob_hash, blob_size, value
    FROM entries_without_revision JOIN namespaces ON namespaces.id = namespace_id;
  DROP TABLE entries_without_revision;
  CREATE UNIQUE INDEX entries_by_key ON entries (namespace_id, key);
  CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;

  -- Up to where entries have expired, in seconds since the epoch.
  CREATE TABLE expiry (seconds INTEGER NOT NULL);
  INSERT INTO expiry VALUES (0);
  `,
  `
  -- Whose it is; what it has, expired entries included; when its last record was committed, and the one up to
  -- which the log was cut, in milliseconds since the epoch.
  ALTER TABLE namespaces ADD COLUMN account TEXT;
  ALTER TABLE namespaces ADD COLUMN keys INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE namespaces ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE namespaces ADD COLUMN written_ms INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE namespaces ADD COLUMN log_start_ms INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX namespaces_by_account ON namespaces (account) WHERE account IS NOT NULL;

  -- Each record gets its time, and what it replaced: with that the log says what the namespace held at each
  -- moment. Of the records so far neither is known: the log begins anew. Large columns come last.
  DROP TABLE log;
  CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    namespace_id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    digest TEXT NOT NULL,
    key BLOB NOT NULL,
    -- Absent when there was no such key.
    replaced_digest BLOB,
    operation BLOB NOT NULL,
    replaced_expires_at INTEGER,
    replaced_metadata TEXT,
    replaced_hash TEXT,
    replaced_size INTEGER,
    replaced_value BLOB
  );
  CREATE UNIQUE INDEX log_by_revision ON log (namespace_id, revision);
  CREATE INDEX log_by_key ON log (namespace_id, key, revision);
  UPDATE namespaces SET
    keys = (SELECT count(*) FROM entries WHERE namespace_id = namespaces.id),
    bytes = (
      SELECT coalesce(sum(length(key) + coalesce(octet_length(metadata), 0)
        + coalesce(blob_size, length(value), 0)), 0)
      FROM entries WHERE namespace_id = namespaces.id
    ),
    log_start = revision,
    log_start_digest = digest,
    log_bytes = 0,
    written_ms = now_ms(),
    log_start_ms = now_ms();

  -- Accounts with a quota, and what was counted of their writes. No bound where a column is absent.
  CREATE TABLE quotas (
    account TEXT PRIMARY KEY,
    keys_max INTEGER,
    bytes_max INTEGER,
    writes_per_second_max INTEGER,
    writes_per_day_max INTEGER,
    second INTEGER NOT NULL DEFAULT 0,
    second_writes INTEGER NOT NULL DEFAULT 0,
    day INTEGER NOT NULL DEFAULT 0,
    day_writes INTEGER NOT NULL DEFAULT 0
  ) WITHOUT ROWID;
  `,
  `
  -- Large values that may be named, and when each was last claimed. What names them is looked up, not counted:
  -- a count could be wrong. The log names what its records replaced.
  CREATE TABLE large_values (hash TEXT PRIMARY KEY, claimed_ms INTEGER NOT NULL) WITHOUT ROWID;
  INSERT INTO large_values SELECT DISTINCT blob_hash, 0 FROM entries WHERE blob_hash IS NOT NULL;
  INSERT INTO large_values SELECT DISTINCT replaced_hash, 0 FROM log WHERE replaced_hash IS NOT NULL
    ON CONFLICT (hash) DO NOTHING;
  CREATE INDEX entries_by_blob ON entries (blob_hash) WHERE blob_hash IS NOT NULL;
  CREATE INDEX log_by_replaced ON log (replaced_hash) WHERE replaced_hash IS NOT NULL;
  `,
  `
  -- When a restore last wrote to it, in milliseconds since the epoch.
  ALTER TABLE namespaces ADD COLUMN rewritten_ms INTEGER NOT NULL DEFAULT 0;
  `,
];

/** Brings a file to this version's layout. Fails with `storage_failed` on a file of a later version. */
export function migrate(database: Database, nowMs: number): void {
  const version = Number(database.pragma("user_version", { simple: true }));
  if (version > STEPS.length) {
    throw new KvError(
      "storage_failed",
      `${database.name} has layout ${version}, and this version knows up to ${STEPS.length}: start a newer one`,
    );
  }
  addFunctions(database, nowMs);
  const run = database.transaction(() => {
    for (const step of STEPS.slice(version)) database.exec(step);
    database.pragma(`user_version = ${STEPS.length}`);
  });
  run.immediate();
}

/** What the steps need of the code: the digests of `state-digest.ts`, and the time by the origin's clock. */
function addFunctions(database: Database, nowMs: number): void {
  database.function("now_ms", () => nowMs);
  database.function(
    "entry_digest",
    { deterministic: true, varargs: true },
    (...columns: unknown[]) => {
      const [key, expires_at, metadata, blob_hash, blob_size, value] = columns;
      const revision = 0; // no part of the digest
      const columnsOf = { key, revision, expires_at, metadata, blob_hash, blob_size, value };
      const row = columnsOf as EntryRow; // as the step selects
      return entryDigest(encodeOperation({ kind: "put", ...entryOf(row) }));
    },
  );
  database.aggregate("state_digest", {
    start: () => new StateSum(),
    step: (sum: StateSum, digest: unknown) => sum.toggle(digest as Buffer), // as the step selects
    result: (sum: StateSum) => sum.digest,
  });
}
