import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { expect, test } from "vitest";
import { Key, type KvOperation } from "../entry.ts";
import { NamespaceId, Revision } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { DEFAULT_HORIZON } from "./log-horizon.ts";
import { describeOrigin } from "./origin.conformance.ts";
import { SqliteOrigin } from "./sqlite-origin.ts";

const log = new RecordedLog();

async function freshDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), "atoll-origin-"));
}

describeOrigin("SqliteOrigin", {
  createPlace: async () => {
    const directory = await freshDirectory();
    return {
      open: async (clock, horizon = DEFAULT_HORIZON) =>
        SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, horizon, log }),
      remove: () => rm(directory, { recursive: true }),
    };
  },
});

test("SqliteOrigin: refuses a file that is not its own, or of a later version", async () => {
  const directory = await freshDirectory();
  const clock = new ManualClock();
  const text = join(directory, "text");
  await writeFile(text, "not a database, but long enough to be looked at as one".repeat(20));
  const later = join(directory, "later");
  const database = new SqliteDatabase(later);
  database.pragma("user_version = 99");
  database.close();
  for (const path of [text, later]) {
    expect(() => SqliteOrigin.open({ path, clock, log })).toThrowError(
      expect.objectContaining({ code: "storage_failed" }),
    );
  }
  await rm(directory, { recursive: true });
});

test("SqliteOrigin: rows of a namespace whose removal was cut short are swept later", async () => {
  const directory = await freshDirectory();
  const path = join(directory, "kv.sqlite");
  const clock = new ManualClock();
  await SqliteOrigin.open({ path, clock, log }).close();
  const database = new SqliteDatabase(path);
  database.exec(`
    INSERT INTO removed_namespaces (id) VALUES (7);
    INSERT INTO entries (namespace_id, key, digest, revision, value) VALUES (7, x'61', x'00', 1, x'62');
    INSERT INTO log (namespace_id, revision, at_ms, digest, key, operation)
      VALUES (7, 1, 0, '', x'61', x'00');
  `);
  const origin = SqliteOrigin.open({ path, clock, log });
  await origin.expire();
  await origin.close();
  const count = (table: string): unknown =>
    database.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  expect(["entries", "log", "removed_namespaces"].map(count)).toEqual([0, 0, 0]);
  database.close();
  await rm(directory, { recursive: true });
});

// The layout of version 1, as files out there have it.
const LAYOUT_1 = `
  CREATE TABLE namespaces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL DEFAULT 0,
    log_start INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE removed_namespaces (id INTEGER PRIMARY KEY);
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
  PRAGMA user_version = 1;
`;

const FULL = NamespaceId.parse("a".repeat(32));
const EMPTY = NamespaceId.parse("b".repeat(32));

function put(key: string, text: string): KvOperation & { kind: "put" } {
  return { kind: "put", key: Key.parse(key), value: { kind: "inline", bytes: Buffer.from(text) } };
}

test("SqliteOrigin: a file of the first layout is taken over with all that it holds, and goes on", async () => {
  const directory = await freshDirectory();
  const path = join(directory, "kv.sqlite");
  const database = new SqliteDatabase(path);
  database.exec(LAYOUT_1);
  database.exec(`
    INSERT INTO namespaces (id, namespace, revision, log_start, log_bytes)
      VALUES (1, '${FULL}', 40, 37, 99), (2, '${EMPTY}', 3, 0, 12);
    INSERT INTO removed_namespaces (id) VALUES (3);
    INSERT INTO entries (namespace_id, key, expires_at, metadata, blob_hash, blob_size, value) VALUES
      (1, x'61', NULL, NULL, NULL, NULL, x'31'),
      (1, x'62', 2000000000, '{"m":1}', '${"ab".repeat(32)}', 70000, NULL),
      (3, x'61', NULL, NULL, NULL, NULL, x'31');
    INSERT INTO log (namespace_id, revision, operation) VALUES (1, 38, x'00'), (2, 1, x'00');
  `);
  database.close();
  const origin = SqliteOrigin.open({ path, clock: new ManualClock(), log });
  const state = new TrackedState(40);
  const value = { kind: "blob", hash: "ab".repeat(32), size: 70_000 } as const;
  const key = Key.parse("b");
  const large: KvOperation = {
    kind: "put",
    key,
    value,
    metadata: '{"m":1}',
    expiresAt: 2_000_000_000,
  };
  state.take([put("a", "1"), large]);
  expect(await origin.point(FULL)).toEqual(state.point);
  // Of the write nothing is known: the namespace's revision is as good.
  const found = { kind: "put", ...(await origin.get(FULL, "b")) };
  expect(found).toEqual({ ...large, revision: state.point.revision });
  const empty = { revision: Revision.parse(3), digest: EMPTY_STATE };
  expect(await origin.point(EMPTY)).toEqual(empty);
  const start = state.point;
  await origin.write(FULL, [put("a", "2")]);
  const after = state.apply([put("a", "2")]);
  expect(await origin.readLog(FULL, start)).toMatchObject({ kind: "records", records: [after] });
  const earlier = { ...start, revision: Revision.parse(39) };
  expect(await origin.readLog(FULL, earlier)).toEqual({ kind: "truncated" });
  await origin.expire();
  const left = new SqliteDatabase(path);
  expect(left.prepare("SELECT count(*) FROM entries").pluck().get()).toBe(2);
  left.close();
  await origin.close();
  await rm(directory, { recursive: true });
});

test("SqliteOrigin: an entry that the disk has changed is given to nobody until it is written anew", async () => {
  const directory = await freshDirectory();
  const path = join(directory, "kv.sqlite");
  const origin = SqliteOrigin.open({ path, clock: new ManualClock(), log });
  await origin.createNamespace(FULL);
  await origin.write(FULL, [put("a", "1"), put("b", "2")]);
  const database = new SqliteDatabase(path);
  database.exec("UPDATE entries SET value = x'39' WHERE key = x'61'");
  database.close();
  const damaged = { code: "storage_failed", message: expect.stringContaining('"a" is damaged') };
  await expect(origin.get(FULL, "a")).rejects.toMatchObject(damaged);
  await expect(origin.readEntries(FULL, null)).rejects.toMatchObject(damaged);
  await origin.write(FULL, [put("a", "3")]);
  expect((await origin.readEntries(FULL, null)).entries).toHaveLength(2);
  const state = new TrackedState();
  expect(await origin.point(FULL)).toEqual(
    state.apply([put("a", "1"), put("b", "2"), put("a", "3")]),
  );
  await origin.close();
  await rm(directory, { recursive: true });
});
