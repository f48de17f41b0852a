import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { systemClock } from "../clock.ts";
import { Key, type KvOperation, type KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision, type HistoryPoint } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import { PostgresProxy } from "../test-support/postgres-proxy.ts";
import { PostgresServer } from "../test-support/postgres-server.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { PostgresOrigin } from "./postgres-origin.ts";
import { SCHEMA } from "./postgres-schema.ts";

const FIRST = NamespaceId.parse("1".repeat(32));
const SECOND = NamespaceId.parse("2".repeat(32));
const BEGINNING: HistoryPoint = { revision: Revision.parse(0), digest: EMPTY_STATE };
// A server that was killed reads its log first, and syncs all its files.
vi.setConfig({ testTimeout: 60_000 });

let server: PostgresServer;
let proxy: PostgresProxy;
let database: string;
let log: RecordedLog;
/** Behind the proxy. */
let origin: PostgresOrigin;
const others: PostgresOrigin[] = [];

beforeAll(async () => {
  server = await PostgresServer.start();
}, 60_000);
afterAll(() => server.remove());

beforeEach(async () => {
  database = await server.createDatabase();
  proxy = await PostgresProxy.open(server.directory);
  log = new RecordedLog();
  const url = server.url(database, proxy.directory);
  origin = await PostgresOrigin.open({ url, clock: systemClock, log });
  for (const namespace of [FIRST, SECOND]) await origin.createNamespace(namespace);
});
afterEach(async () => {
  for (const other of others.splice(0)) await other.close();
  await origin.close();
  await proxy.close();
});

/** Another control plane on the same database, with a sound network. */
async function openOther(): Promise<PostgresOrigin> {
  const other = await PostgresOrigin.open({ url: server.url(database), clock: systemClock, log });
  others.push(other);
  return other;
}

function put(key: string, text = "x"): KvOperation {
  return { kind: "put", key: Key.parse(key), value: { kind: "inline", bytes: Buffer.from(text) } };
}

async function recordsOf(reader: PostgresOrigin): Promise<ReadonlyArray<KvRecord>> {
  const page = await reader.readLog(FIRST, BEGINNING);
  return page.kind === "records" ? page.records : [];
}

/** Everything that an origin tells of the first namespace from now on. */
async function listen(to: PostgresOrigin): Promise<KvRecord[]> {
  const heard: KvRecord[] = [];
  // Others' commits are followed by who asks.
  await to.point(FIRST);
  to.onCommit((namespace, records) => {
    if (namespace === FIRST) heard.push(...records);
  });
  return heard;
}

test("PostgresOrigin: what arrives in one turn is one transaction", async () => {
  await Promise.all(
    Array.from({ length: 64 }, (_, index) => origin.write(FIRST, [put(`${index}`)])),
  );
  const rows = await server.query(
    database,
    `SELECT count(DISTINCT xmin::text) AS transactions, count(*) AS records FROM ${SCHEMA}.log`,
  );
  expect(rows).toEqual([{ transactions: "1", records: "64" }]);
});

test("PostgresOrigin: no statement reads a whole table, however new it is", async () => {
  // Making an index reads the table, too: that is not counted.
  await server.query(database, "SELECT pg_stat_reset()");
  const writer = await openOther();
  for (let round = 0; round < 10; round += 1) {
    await writer.write(FIRST, [put("a"), put(`${round}`), { kind: "delete", key: Key.parse("a") }]);
    await writer.get(FIRST, "a");
    await writer.list(FIRST, { prefix: "", limit: 10 });
    await writer.readEntries(FIRST, null);
    await recordsOf(writer);
    await writer.expire();
  }
  await writer.close();
  // The counts are there once the connections are gone.
  await waitFor(async () => {
    const rows = await server.query(
      database,
      `SELECT relname, seq_scan, idx_scan >= 10 AS is_read FROM pg_stat_user_tables
       WHERE relname IN ('entries', 'log') ORDER BY relname`,
    );
    expect(rows).toEqual([
      { relname: "entries", seq_scan: "0", is_read: true },
      { relname: "log", seq_scan: "0", is_read: true },
    ]);
  });
});

test("PostgresOrigin: writers of several control planes have one order, which all of them tell", async () => {
  const origins = [origin, await openOther(), await openOther()];
  const heard = await Promise.all(origins.map(listen));
  let acknowledged = 0;
  const revisions: number[] = [];
  const write = async (writer: PostgresOrigin, key: string): Promise<void> => {
    const before = acknowledged;
    const revision = await writer.write(FIRST, [put(key)]);
    // What began after another's acknowledgement comes after it.
    expect(revision).toBeGreaterThan(before);
    acknowledged = Math.max(acknowledged, revision);
    revisions.push(revision);
  };
  // A reader that never sees a revision before the one below it.
  const follow = async (): Promise<number> => {
    for (let at = BEGINNING; ;) {
      const page = await origin.readLog(FIRST, at);
      for (const record of page.kind === "records" ? page.records : []) {
        expect(record.revision).toBe(at.revision + 1);
        at = { revision: record.revision, digest: record.digest };
      }
      if (at.revision >= 240) return at.revision;
    }
  };
  const following = follow();
  const writers = origins.flatMap((each, index) =>
    Array.from({ length: 8 }, async (_, lane) => {
      for (let count = 0; count < 10; count += 1) await write(each, `${index}/${lane}/${count}`);
    }),
  );
  await Promise.all(writers);
  const all = Array.from({ length: 240 }, (_, index) => index + 1);
  expect(revisions.toSorted((a, b) => a - b)).toEqual(all);
  expect(await following).toBe(240);
  await waitFor(() => {
    for (const records of heard) expect(records.map(({ revision }) => revision)).toEqual(all);
  });
  expect(heard[0]).toEqual(heard[1]);
  expect(heard[0]).toEqual(await recordsOf(origin));
});

/** As a control plane that is stuck does; resolves when it does, with what resolves when it has let go. */
async function holdFirst(seconds: number): Promise<{ readonly released: Promise<unknown> }> {
  const released = server.query(
    database,
    `BEGIN; SELECT * FROM ${SCHEMA}.namespaces WHERE namespace = '${FIRST}' FOR UPDATE; SELECT pg_sleep(${seconds})`,
  );
  await waitFor(async () => {
    const rows = await server.query(
      database,
      "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
    );
    expect(rows).toHaveLength(1);
  });
  return { released };
}

test("PostgresOrigin: a namespace that a stuck control plane holds fails alone, within its bound", async () => {
  const { released } = await holdFirst(4);
  const startMs = Date.now();
  const first = Promise.allSettled([origin.write(FIRST, [put("a")])]);
  expect(await origin.write(SECOND, [put("a")])).toBe(1);
  expect(Date.now() - startMs).toBeLessThan(LIMITS.originLockMs);
  expect(await first).toMatchObject([{ reason: { code: "busy", retryable: true } }]);
  await released;
  expect(await origin.write(FIRST, [put("a")])).toBe(1);
});

test("PostgresOrigin: a write that waits for another control plane ends when its own is closed", async () => {
  const { released } = await holdFirst(4);
  const write = Promise.allSettled([origin.write(FIRST, [put("a")])]);
  // From here on it is in a transaction, which passes over the namespace.
  await new Promise((resolve) => setImmediate(resolve));
  await origin.close();
  expect(await write).toMatchObject([{ reason: { code: "closed", retryable: true } }]);
  await released;
});

test("PostgresOrigin: who stores content again waits until it is removed, also when the connections are lost meanwhile", async () => {
  const hash = "ab".repeat(32);
  const value = { kind: "blob", hash, size: 70_000 } as const;
  const large: KvOperation = { kind: "put", key: Key.parse("large"), value };
  await origin.claimValue(hash);
  await server.query(database, `UPDATE ${SCHEMA}.large_values SET claimed_ms = 0`);
  const other = await openOther();
  const [begun, removing] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const events: string[] = [];
  const collecting = Promise.allSettled([
    origin.collectValues(async () => {
      begun.resolve();
      await removing.promise;
      events.push("removed");
    }),
  ]);
  await begun.promise;
  proxy.cut();
  const storing = other.claimValue(hash).then(() => events.push("stored"));
  await expect(other.write(FIRST, [large])).rejects.toMatchObject({ code: "value_unavailable" });
  removing.resolve();
  await Promise.all([collecting, storing]);
  expect(events).toEqual(["removed", "stored"]);
  expect(await other.write(FIRST, [large])).toBe(1);
});

test("PostgresOrigin: content whose remover has died can be stored again when its removal must be over", async () => {
  const hash = "ab".repeat(32);
  await origin.claimValue(hash);
  const leavingMs = Date.now() - LIMITS.valueRemovalMs;
  await server.query(
    database,
    `UPDATE ${SCHEMA}.large_values SET claimed_ms = 0, leaving_ms = ${leavingMs + 60_000}`,
  );
  await expect(origin.claimValue(hash)).rejects.toMatchObject({ code: "busy", retryable: true });
  expect(await origin.collectValues(() => Promise.resolve())).toBe(0);
  await server.query(database, `UPDATE ${SCHEMA}.large_values SET leaving_ms = ${leavingMs}`);
  await origin.claimValue(hash);
  const value = { kind: "blob", hash, size: 70_000 } as const;
  expect(await origin.write(FIRST, [{ kind: "put", key: Key.parse("large"), value }])).toBe(1);
});

test("PostgresOrigin: a commit whose answer was lost is not acknowledged, and told when it was one", async () => {
  const heard = await listen(origin);
  proxy.loseCommits();
  const lost = { code: "origin_unreachable", retryable: true };
  await expect(origin.write(FIRST, [put("a")])).rejects.toMatchObject(lost);
  proxy.recover();
  await waitFor(() => expect(heard).toHaveLength(1));
  expect(await origin.write(FIRST, [put("b")])).toBe(2);
  expect(heard.map(({ revision }) => revision)).toEqual([1, 2]);
  expect(heard).toEqual(await recordsOf(origin));
});

test("PostgresOrigin: connections that were cut are made again by themselves", async () => {
  const heard = await listen(origin);
  const other = await openOther();
  await origin.write(FIRST, [put("a")]);
  proxy.cut();
  // The first to meet a cut connection may fail, in a way that says to repeat it.
  await waitFor(() => origin.write(FIRST, [put("b")]));
  // So is the one that hears of others' commits.
  await other.write(FIRST, [put("c")]);
  await waitFor(() =>
    expect(heard).toEqual(
      expect.arrayContaining([expect.objectContaining({ operation: put("c") })]),
    ),
  );
  expect(heard).toEqual(await recordsOf(other));
});

test("PostgresOrigin: a commit of which no notification came is found", async () => {
  const other = await openOther();
  const listening = `FROM pg_stat_activity
    WHERE datname = '${database}' AND query LIKE '%LISTEN%' AND pid <> pg_backend_pid()`;
  await waitFor(async () => {
    expect(await server.query(database, `SELECT pid ${listening}`)).toHaveLength(2);
  });
  const heard = await listen(origin);
  await server.query(database, `SELECT pg_terminate_backend(pid) ${listening}`);
  await other.write(FIRST, [put("a")]);
  await waitFor(() => expect(heard).toHaveLength(1));
});

test("PostgresOrigin: a database that has gone silent is given up within a bound", async () => {
  await origin.write(FIRST, [put("a")]);
  proxy.fallSilent();
  const startMs = Date.now();
  const writes = await Promise.allSettled([origin.write(FIRST, [put("b")]), origin.point(FIRST)]);
  const lost = { reason: { code: "origin_unreachable", retryable: true } };
  expect(writes).toMatchObject([lost, lost]);
  expect(Date.now() - startMs).toBeLessThan(LIMITS.originAnswerMs + 3_000);
  proxy.recover();
  await waitFor(() => origin.write(FIRST, [put("b")]));
});

test("PostgresOrigin: while the server is down calls fail at once, and afterwards they don't", async () => {
  await origin.write(FIRST, [put("a")]);
  await server.kill();
  const lost = { code: "origin_unreachable", retryable: true };
  const startMs = Date.now();
  await expect(origin.write(FIRST, [put("b")])).rejects.toMatchObject(lost);
  await expect(origin.get(FIRST, "a")).rejects.toMatchObject(lost);
  await expect(
    PostgresOrigin.open({ url: server.url(database), clock: systemClock, log }),
  ).rejects.toMatchObject(lost);
  expect(Date.now() - startMs).toBeLessThan(LIMITS.originConnectMs);
  await server.restart();
  expect(await origin.write(FIRST, [put("b")])).toBe(2);
  const said = log.lines.filter((line) => /can('t)? be reached/.test(line));
  expect(said).toMatchObject(
    [/^error the database can't be reached/, /^info the database can be reached again/].map(
      (line) => expect.stringMatching(line),
    ),
  );
});

test("PostgresOrigin: what no text of the database can hold harms nobody", async () => {
  const metadata = '"\u0000\ufffd"';
  const odd: KvOperation = { ...put("\u0000"), metadata } as KvOperation;
  const writes = await Promise.all([origin.write(FIRST, [odd]), origin.write(SECOND, [put("a")])]);
  expect(writes).toEqual([1, 1]);
  expect({ kind: "put", ...(await origin.get(FIRST, "\u0000")) }).toEqual({ ...odd, revision: 1 });
});

test("PostgresOrigin: rows of a namespace whose removal was cut short are swept later", async () => {
  await server.query(
    database,
    `SET search_path = ${SCHEMA};
     INSERT INTO removed_namespaces (id) VALUES (7);
     INSERT INTO log_holds (namespace_id, until_ms) VALUES (7, 1);
     INSERT INTO entries (namespace_id, key, digest) VALUES (7, 'a', 'a');
     INSERT INTO log (namespace_id, revision, at_ms, digest, key, operation)
       VALUES (7, 1, 0, 'a', 'a', 'a')`,
  );
  await origin.expire();
  for (const table of ["removed_namespaces", "log_holds", "entries", "log"]) {
    expect(await server.query(database, `SELECT * FROM ${SCHEMA}.${table}`)).toEqual([]);
  }
});

test("PostgresOrigin: an entry that the disk has changed is given to nobody until it is written anew", async () => {
  await origin.write(FIRST, [put("a", "1"), put("b", "2")]);
  await server.query(database, `UPDATE ${SCHEMA}.entries SET value = '9' WHERE key = 'a'`);
  const damaged = { code: "storage_failed", message: expect.stringContaining('"a" is damaged') };
  await expect(origin.get(FIRST, "a")).rejects.toMatchObject(damaged);
  await expect(origin.readEntries(FIRST, null)).rejects.toMatchObject(damaged);
  await origin.write(FIRST, [put("a", "3")]);
  const state = new TrackedState();
  const point = state.apply([put("a", "1"), put("b", "2"), put("a", "3")]);
  expect(await origin.readEntries(FIRST, null)).toMatchObject(point);
});

test("PostgresOrigin: entries from before they had revisions get that of their namespace, and go on from it", async () => {
  await origin.write(FIRST, [put("a", "1"), put("b", "2")]);
  await server.query(
    database,
    `SET search_path = ${SCHEMA};
     DROP TABLE large_values; DROP INDEX entries_by_blob;
     ALTER TABLE entries DROP COLUMN revision; DROP TABLE expiry; DROP TABLE quotas;
     ALTER TABLE namespaces DROP COLUMN account, DROP COLUMN keys, DROP COLUMN bytes,
       DROP COLUMN written_ms, DROP COLUMN log_start_ms, DROP COLUMN rewritten_ms;
     UPDATE layout SET version = 1`,
  );
  const later = await openOther();
  const { entries } = await later.readEntries(FIRST, null);
  expect(entries.map(({ revision }) => revision)).toEqual([2, 2]);
  const condition = { key: Key.parse("a"), revision: Revision.parse(2) };
  expect(await later.write(FIRST, [put("a", "3")], [condition])).toBe(3);
});

test("PostgresOrigin: refuses tables of a later version", async () => {
  await server.query(database, `UPDATE ${SCHEMA}.layout SET version = 99`);
  await expect(openOther()).rejects.toMatchObject({ code: "storage_failed" });
});

test("PostgresOrigin: processes that start together make the tables once", async () => {
  const fresh = server.url(await server.createDatabase());
  const opened = await Promise.all(
    Array.from({ length: 4 }, () => PostgresOrigin.open({ url: fresh, clock: systemClock, log })),
  );
  others.push(...opened);
  await opened[0]?.createNamespace(FIRST);
  expect(await opened[3]?.write(FIRST, [put("a")])).toBe(1);
});
