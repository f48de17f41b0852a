import { existsSync } from "node:fs";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { systemClock } from "../clock.ts";
import { Key, type KvOperation } from "../entry.ts";
import { entriesAt } from "../management/entries-at.ts";
import { NamespaceId, type Revision } from "../names.ts";
import type { ManagedOrigin } from "../origin/administration.ts";
import { PostgresOrigin } from "../origin/postgres-origin.ts";
import { NO_QUOTA } from "../origin/quota.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { put, remove } from "../test-support/origin-place.ts";
import { PostgresServer } from "../test-support/postgres-server.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import {
  copyToPostgres,
  SourceFile,
  transferToPostgres,
  type TransferSummary,
} from "./transfer.ts";

const FULL = NamespaceId.parse("a".repeat(32));
const SMALL = NamespaceId.parse("b".repeat(32));
const EMPTY = NamespaceId.parse("c".repeat(32));
const ACCOUNT = "d".repeat(32);
const log = new RecordedLog();

let server: PostgresServer;
let url: string;
let directory: string;
let path: string;
beforeAll(async () => {
  server = await PostgresServer.start();
}, 60_000);
afterAll(() => server.remove());
beforeEach(async () => {
  url = server.url(await server.createDatabase());
  directory = await mkdtemp(join(tmpdir(), "atoll-transfer-"));
  path = join(directory, "kv.sqlite");
  await fill();
});
afterEach(() => rm(directory, { recursive: true }));

const openFile = (): SqliteOrigin => SqliteOrigin.open({ path, clock: systemClock, log });
const openDatabase = (): Promise<PostgresOrigin> =>
  PostgresOrigin.open({ url, clock: systemClock, log });

const LARGE = { kind: "blob", hash: "ab".repeat(32), size: 70_000 } as const;

async function fill(): Promise<void> {
  const origin = openFile();
  for (const namespace of [FULL, SMALL, EMPTY]) await origin.createNamespace(namespace);
  await origin.claimValue(LARGE.hash);
  const key = Key.parse("large");
  const large: KvOperation = { kind: "put", key, value: LARGE, expiresAt: 4e9 };
  const many = Array.from({ length: 1_500 }, (_, index) => put(`k${index}`, "x".repeat(1_000)));
  await origin.write(FULL, [large, put("ä\u{10000}", "1"), ...many]);
  await origin.write(FULL, [put("k1", "changed"), remove("k2"), put("k2", ""), remove("k3")]);
  await origin.write(SMALL, [put("k", "1")]);
  await origin.administration.assign(ACCOUNT, [FULL, SMALL]);
  await origin.administration.setQuota(ACCOUNT, { ...NO_QUOTA, keysMax: 3_000 });
  await origin.close();
}

/** All that an origin says of the namespaces: two that say the same are the same to everybody. */
async function contentOf(origin: ManagedOrigin): Promise<unknown> {
  const all = [];
  for (const namespace of [FULL, SMALL, EMPTY]) {
    const extent = await origin.administration.describe(namespace);
    const states = [];
    for (const revision of new Set([0, Math.min(1, extent.revision), extent.revision])) {
      states.push(await Array.fromAsync(entriesAt(origin, namespace, revision as Revision)));
    }
    all.push({ extent, states, log: await origin.readLog(namespace, extent.log.start) });
  }
  return [all, await origin.administration.accountUse(ACCOUNT)];
}

function transfer(onProgress: (text: string) => void = () => {}): Promise<TransferSummary> {
  return transferToPostgres({ path, url, onProgress, log });
}

test("transfer: entries, history and quotas are in the database as they were, and the file is set aside", async () => {
  const file = openFile();
  const before = await contentOf(file);
  await file.close();
  const said: string[] = [];
  const summary = await transfer((text) => said.push(text));
  expect(summary).toEqual({ namespaces: 3, keys: 1_502, setAside: `${path}.moved` });
  expect([existsSync(path), existsSync(`${path}-wal`), existsSync(summary.setAside)]).toEqual([
    ...[false, false, true],
  ]);
  expect(said.some((text) => text.includes(`${FULL}: `))).toBe(true);
  const origin = await openDatabase();
  expect(await contentOf(origin)).toEqual(before);
  // The history goes on: who followed it before follows it now.
  const point = await origin.point(FULL);
  const revision = await origin.write(FULL, [put("new", "1")]);
  expect(revision).toBe(point.revision + 1);
  expect(await origin.readLog(FULL, point)).toMatchObject({
    kind: "records",
    records: [{ revision }],
  });
  // What is named is known to be there.
  await origin.write(FULL, [{ kind: "put", key: Key.parse("again"), value: LARGE }]);
  const many = Array.from({ length: 2_000 }, (_, index) => put(`more${index}`, ""));
  await expect(origin.write(SMALL, many)).rejects.toMatchObject({ code: "storage_exceeded" });
  await origin.close();
});

test("transfer: large values that nothing names are collected where the namespaces are then", async () => {
  const file = openFile();
  const unnamed = "cd".repeat(32);
  await file.claimValue(unnamed);
  await file.close();
  await transfer();
  const origin = await openDatabase();
  const removed: string[] = [];
  await origin.collectValues(async (hash) => void removed.push(hash));
  expect(removed).toEqual([unnamed]);
  await origin.close();
});

test("transfer: one that was cut short at any step is finished by repeating it", async () => {
  for (const step of [`${FULL}: `, `${SMALL}: 2 of`, `${EMPTY}: comparing`]) {
    const cut = new Error("killed");
    const cutting = transfer((text) => {
      if (text.startsWith(step)) throw cut;
    });
    await expect(cutting).rejects.toBe(cut);
    expect(existsSync(path)).toBe(true);
  }
  expect(await transfer()).toMatchObject({ namespaces: 3 });
  const origin = await openDatabase();
  const moved = await contentOf(origin);
  await origin.close();
  await rename(`${path}.moved`, path);
  const file = openFile();
  expect(moved).toEqual(await contentOf(file));
  await file.close();
});

test("transfer: a file that a control plane has open is left alone", async () => {
  const origin = openFile();
  await expect(transfer()).rejects.toMatchObject({
    ...{ code: "busy", message: expect.stringContaining("stop the control plane first") },
  });
  await origin.close();
  await transfer();
});

test("transfer: nobody writes to the file meanwhile", async () => {
  let attempt: unknown;
  await transfer((text) => {
    if (!text.includes("comparing") || attempt !== undefined) return;
    try {
      new SqliteDatabase(path, { timeout: 0 }).exec("UPDATE namespaces SET revision = 0");
    } catch (error) {
      attempt = error;
    }
  });
  expect(attempt).toMatchObject({ code: "SQLITE_BUSY" });
});

test("transfer: a database that was written to is no place for the file's namespaces", async () => {
  const origin = await openDatabase();
  for (const namespace of [SMALL, EMPTY]) await origin.createNamespace(namespace);
  // One that is empty gives way.
  await origin.write(SMALL, [put("other", "1")]);
  await expect(transfer()).rejects.toMatchObject({
    ...{ code: "storage_failed", message: expect.stringContaining("another history") },
  });
  await expect(origin.point(FULL)).rejects.toMatchObject({ code: "namespace_not_found" });
  await origin.deleteNamespace(SMALL);
  await origin.createNamespace(SMALL);
  await origin.close();
  await transfer();
});

test("transfer: a copy that may replace what is there leaves what the file has, and no more", async () => {
  const origin = await openDatabase();
  const gone = NamespaceId.parse("e".repeat(32));
  for (const namespace of [SMALL, gone]) await origin.createNamespace(namespace);
  await origin.write(SMALL, [put("other", "1"), put("another", "2")]);
  await origin.administration.setQuota(ACCOUNT, { ...NO_QUOTA, keysMax: 1 });
  await origin.close();
  const source = SourceFile.open(path);
  const copy = () => copyToPostgres({ source, url, others: "replace", onProgress: () => {}, log });
  expect(await copy()).toEqual({ namespaces: 3, keys: 1_502 });
  expect(await copy()).toEqual({ namespaces: 3, keys: 1_502 });
  source.close();
  const [file, moved] = [openFile(), await openDatabase()];
  expect(await contentOf(moved)).toEqual(await contentOf(file));
  await expect(moved.point(gone)).rejects.toMatchObject({ code: "namespace_not_found" });
  for (const each of [file, moved]) await each.close();
});

test("transfer: what the file's disk has changed is found, and the file stays where it is", async () => {
  const database = new SqliteDatabase(path);
  database.exec("UPDATE entries SET value = x'39' WHERE key = CAST('k7' AS BLOB)");
  database.close();
  await expect(transfer()).rejects.toMatchObject({
    ...{ code: "storage_failed", message: expect.stringContaining('"k7" is damaged') },
  });
  expect(existsSync(path)).toBe(true);
});

test("transfer: without a file or a database it says so", async () => {
  const options = { path: join(directory, "none"), url, onProgress: () => {}, log };
  await expect(transferToPostgres(options)).rejects.toMatchObject({ code: "storage_failed" });
  const nowhere = "postgres://atoll@127.0.0.1:1/none";
  await expect(transferToPostgres({ ...options, path, url: nowhere })).rejects.toMatchObject({
    code: "origin_unreachable",
  });
});
