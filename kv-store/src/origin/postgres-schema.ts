import { Client } from "pg";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { databaseError } from "./postgres-errors.ts";

/** The schema that holds the tables: a database may have others beside it. */
export const SCHEMA = "atoll_kv";

// One step per version of the layout. A step that was released is never changed: databases out there have
// been through it. Texts are bytes in UTF-8, because PostgreSQL's text can't hold every character.
const STEPS: ReadonlyArray<string> = [
  `
  -- Room on each page for the next versions of its rows: a row changes with every commit, and stays in place.
  CREATE TABLE namespaces (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text NOT NULL UNIQUE,
    revision bigint NOT NULL DEFAULT 0,
    -- Of the state as of the revision.
    digest bytea NOT NULL,
    -- Records up to this revision have left the log.
    log_start bigint NOT NULL DEFAULT 0,
    -- Of the state as of the log's start.
    log_start_digest bytea NOT NULL,
    log_bytes bigint NOT NULL DEFAULT 0
  ) WITH (fillfactor = 50);

  -- Until when the log of a namespace that is being copied is kept, in milliseconds since the epoch. Not in
  -- its own row, which readers would then hold up.
  CREATE TABLE log_holds (
    namespace_id bigint PRIMARY KEY,
    until_ms bigint NOT NULL
  ) WITH (fillfactor = 50);

  -- Numbers whose rows are still to be swept.
  CREATE TABLE removed_namespaces (id bigint PRIMARY KEY);

  CREATE TABLE entries (
    namespace_id bigint NOT NULL,
    key bytea NOT NULL,
    digest bytea NOT NULL,
    expires_at bigint,
    metadata bytea,
    blob_hash bytea,
    blob_size bigint,
    value bytea,
    PRIMARY KEY (namespace_id, key)
  );
  CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;

  CREATE TABLE log (
    namespace_id bigint NOT NULL,
    revision bigint NOT NULL,
    -- Of the state that the record leads to.
    digest bytea NOT NULL,
    operation bytea NOT NULL,
    PRIMARY KEY (namespace_id, revision)
  );

  -- Uncompressed: what a namespace's lock is held for should be short.
  ALTER TABLE entries ALTER COLUMN value SET STORAGE EXTERNAL;
  ALTER TABLE log ALTER COLUMN operation SET STORAGE EXTERNAL;
  `,
  `
  -- The revision of the write that put the entry. Of entries from before it is not known: the namespace's is
  -- as good, because it stays the same until the key is written again.
  ALTER TABLE entries ADD COLUMN revision bigint NOT NULL DEFAULT 0;
  UPDATE entries SET revision = namespaces.revision FROM namespaces WHERE id = namespace_id;

  -- Up to where entries have expired, in seconds since the epoch, by whichever control plane's clock.
  CREATE TABLE expiry (seconds bigint NOT NULL);
  INSERT INTO expiry VALUES (0);
  `,
  `
  -- Whose it is; what it has, expired entries included; when its last record was committed, and the one up to
  -- which the log was cut, in milliseconds since the epoch.
  ALTER TABLE namespaces
    ADD COLUMN account text,
    ADD COLUMN keys bigint NOT NULL DEFAULT 0,
    ADD COLUMN bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN written_ms bigint NOT NULL DEFAULT 0,
    ADD COLUMN log_start_ms bigint NOT NULL DEFAULT 0;
  CREATE INDEX namespaces_by_account ON namespaces (account) WHERE account IS NOT NULL;

  -- Each record gets its time, and what it replaced: with that the log says what the namespace held at each
  -- moment. Of the records so far neither is known: the log begins anew.
  DROP TABLE log;
  CREATE TABLE log (
    namespace_id bigint NOT NULL,
    revision bigint NOT NULL,
    at_ms bigint NOT NULL,
    -- Of the state that the record leads to.
    digest bytea NOT NULL,
    key bytea NOT NULL,
    operation bytea NOT NULL,
    -- Absent when there was no such key. All of what was replaced is noted for a key's first operation of a
    -- transaction, because between two of them there is no moment; digest and hash for each.
    replaced_digest bytea,
    replaced_expires_at bigint,
    replaced_metadata bytea,
    replaced_hash bytea,
    replaced_size bigint,
    replaced_value bytea,
    PRIMARY KEY (namespace_id, revision)
  );
  CREATE INDEX log_by_key ON log (namespace_id, key, revision);
  ALTER TABLE log ALTER COLUMN operation SET STORAGE EXTERNAL;
  ALTER TABLE log ALTER COLUMN replaced_value SET STORAGE EXTERNAL;
  UPDATE namespaces SET
    keys = (SELECT count(*) FROM entries WHERE namespace_id = namespaces.id),
    bytes = (
      SELECT coalesce(sum(octet_length(key) + coalesce(octet_length(metadata), 0)
        + coalesce(blob_size, octet_length(value), 0)), 0)
      FROM entries WHERE namespace_id = namespaces.id
    ),
    log_start = revision,
    log_start_digest = digest,
    log_bytes = 0,
    written_ms = extract(epoch FROM now()) * 1000,
    log_start_ms = extract(epoch FROM now()) * 1000;

  -- Accounts with a quota, and what was counted of their writes. No bound where a column is absent. Room on
  -- each page, as for namespaces.
  CREATE TABLE quotas (
    account text PRIMARY KEY,
    keys_max bigint,
    bytes_max bigint,
    writes_per_second_max bigint,
    writes_per_day_max bigint,
    second bigint NOT NULL DEFAULT 0,
    second_writes bigint NOT NULL DEFAULT 0,
    day bigint NOT NULL DEFAULT 0,
    day_writes bigint NOT NULL DEFAULT 0
  ) WITH (fillfactor = 50);
  `,
  `
  -- Large values that may be named, and when each was last claimed. What names them is looked up, not counted:
  -- a count could be wrong. The log names what its records replaced.
  CREATE TABLE large_values (hash bytea PRIMARY KEY, claimed_ms bigint NOT NULL);
  INSERT INTO large_values SELECT DISTINCT blob_hash, 0 FROM entries WHERE blob_hash IS NOT NULL;
  INSERT INTO large_values SELECT DISTINCT replaced_hash, 0 FROM log WHERE replaced_hash IS NOT NULL
    ON CONFLICT (hash) DO NOTHING;
  CREATE INDEX entries_by_blob ON entries (blob_hash) WHERE blob_hash IS NOT NULL;
  CREATE INDEX log_by_replaced ON log (replaced_hash) WHERE replaced_hash IS NOT NULL;
  `,
  `
  -- Since when the content is being removed, in milliseconds since the epoch; null when it is not.
  ALTER TABLE large_values ADD COLUMN leaving_ms bigint;
  `,
  `
  -- When a restore last wrote to it, in milliseconds since the epoch.
  ALTER TABLE namespaces ADD COLUMN rewritten_ms bigint NOT NULL DEFAULT 0;
  `,
];

// Any number that nobody else locks: the processes of a fleet start together.
const MIGRATION_LOCK = 7_094_273_215;

/**
 * Brings the database to this version's layout, on a connection of its own: a step may take long. Fails with
 * `origin_unreachable`, and with `storage_failed` on a layout of a later version or what the database refuses.
 */
export async function migrate(url: string): Promise<void> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: LIMITS.originConnectMs,
    lock_timeout: LIMITS.originMigrationMs,
    keepAlive: true,
    application_name: "atoll-kv",
  });
  // Said to the statement that runs, too.
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query(`BEGIN; SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`);
    const version = await layoutVersion(client);
    if (version > STEPS.length) {
      const text = `the database has layout ${version}, and this version knows up to ${STEPS.length}: start a newer one`;
      throw new KvError("storage_failed", text);
    }
    if (version < STEPS.length) {
      await client.query(`SET LOCAL search_path = ${SCHEMA}`);
      for (const step of STEPS.slice(version)) await client.query(step);
      await client.query("UPDATE layout SET version = $1", [STEPS.length]);
    }
    await client.query("COMMIT");
  } catch (error) {
    throw databaseError(error);
  } finally {
    await client.end();
  }
}

/** The layout's version; a database without one gets an empty schema, of version 0. */
async function layoutVersion(client: Client): Promise<number> {
  const known = await client.query<{ layout: string | null }>(
    `SELECT to_regclass('${SCHEMA}.layout') AS layout`,
  );
  if (known.rows[0]?.layout == null) {
    // Not looked at otherwise: who may use the schema need not have the right to create one.
    await client.query(
      `CREATE SCHEMA IF NOT EXISTS ${SCHEMA};
       CREATE TABLE ${SCHEMA}.layout (version integer NOT NULL);
       INSERT INTO ${SCHEMA}.layout VALUES (0)`,
    );
  }
  const layout = await client.query<{ version: number }>(`SELECT version FROM ${SCHEMA}.layout`);
  return layout.rows[0]?.version ?? 0;
}
