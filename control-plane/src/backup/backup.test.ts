import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Key, NamespaceId } from "@atoll/kv-store";
import SqliteDatabase from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { blobHashOf } from "../blobs/blob-hash.ts";
import { DirectoryBlobStore } from "../blobs/directory-blob-store.ts";
import { openSqliteDatabase } from "../database/sqlite-database.ts";
import { readRevision } from "../desired-state/mutations.ts";
import { removeMoveMark, writeMoveMark } from "../move/move-mark.ts";
import { ControlPlaneApi, MAIN_MODULE } from "../test-support/control-plane-api.ts";
import { backUp } from "./backup.ts";
import { restoreBackup } from "./restore.ts";

const NOW = new Date("2026-11-20T12:00:00.000Z");
const VALUE = randomBytes(100_000);

let api: ControlPlaneApi;
let backup: string;
let restored: string;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  backup = join(api.directory, "elsewhere", "backup");
  restored = join(api.directory, "elsewhere", "restored");
});
afterEach(() => api.close());

function makeBackup(options: { readonly isWithoutKey?: boolean } = {}) {
  const { isWithoutKey = false } = options;
  return backUp({ dataDirectory: api.directory, to: backup, isWithoutKey, now: NOW });
}

function restore(masterKey?: string) {
  return restoreBackup({ from: backup, dataDirectory: restored, masterKey, now: NOW });
}

/** A worker with a secret, and a namespace with a small and a large value. */
async function populate(): Promise<NamespaceId> {
  const { result } = await api.call("POST A/storage/kv/namespaces", { title: "words" });
  const namespace = NamespaceId.parse(result.id);
  const path = `A/storage/kv/namespaces/${namespace}/values`;
  await api.fetch(`${path}/small`, { method: "PUT", body: "1" });
  await api.fetch(`${path}/large`, { method: "PUT", body: VALUE });
  await api.deploy("hello", { bindings: [{ type: "secret_text", name: "KEY", text: "hunter2" }] });
  return namespace;
}

describe("backup: ", () => {
  test("everything comes back, and revisions go on above all that nodes have seen", async () => {
    const namespace = await populate();
    const before = await api.controlPlane.desiredState.snapshot();
    const manifest = await makeBackup();
    expect(manifest).toMatchObject({ revision: before.revision, blobs: 1, values: 1 });
    expect((await readdir(backup)).sort()).toEqual([
      ...["blobs", "control-plane.sqlite", "kv-values", "kv.sqlite", "manifest.json", "master.key"],
    ]);
    // Nodes go on to a revision that the copy does not know.
    await api.deploy("later");
    const { restoredRevision } = await restore();
    expect(restoredRevision).toBe(NOW.getTime());
    expect((await readdir(join(api.directory, "elsewhere"))).sort()).toEqual([
      "backup",
      "restored",
    ]);

    const other = await api.reopen(restored);
    const after = await other.controlPlane.desiredState.snapshot();
    expect(after.revision).toBe(restoredRevision);
    expect(after.workers).toEqual(before.workers);
    expect(await other.controlPlane.desiredState.changesSince(before.revision)).toBeUndefined();
    const large = await other.origin.get(namespace, Key.parse("large"));
    expect(large?.value).toMatchObject({ kind: "blob", hash: blobHashOf(VALUE) });
    const values = new DirectoryBlobStore(join(restored, "kv-values"));
    expect(Buffer.from((await values.get(blobHashOf(VALUE))) ?? [])).toEqual(VALUE);
    expect((await other.origin.get(namespace, Key.parse("small")))?.value.kind).toBe("inline");
    await other.close();
  });

  test("a copy of a copy, and the same copy again, never repeat a revision", async () => {
    await populate();
    await makeBackup();
    const revisions: number[] = [];
    for (const ms of [0, 1, 2]) {
      const now = new Date(NOW.getTime() + ms);
      const options = { from: backup, dataDirectory: restored, masterKey: undefined };
      revisions.push((await restoreBackup({ ...options, now })).restoredRevision);
      await rm(restored, { recursive: true, force: true });
    }
    expect(revisions).toEqual([0, 1, 2].map((ms) => NOW.getTime() + ms));
    // Where the clock is behind, it goes on by one.
    const early = new Date(0);
    await restoreBackup({
      from: backup,
      dataDirectory: restored,
      masterKey: undefined,
      now: early,
    });
    const database = await openSqliteDatabase(join(restored, "control-plane.sqlite"));
    expect(await readRevision(database)).toBe(2);
    await database.destroy();
  });

  test("what is being written meanwhile is there as of one moment in both databases", async () => {
    const stop = new AbortController();
    const writing = (async () => {
      let written = 0;
      for (; !stop.signal.aborted; written += 1) {
        const { result } = await api.call("POST A/storage/kv/namespaces", { title: `n${written}` });
        const path = `A/storage/kv/namespaces/${result.id}`;
        const body = Buffer.concat([VALUE, Buffer.from(String(written))]);
        await api.fetch(`${path}/values/large`, { method: "PUT", body });
        await api.deploy(`worker-${written % 5}`);
        if (written % 2 === 0) await api.fetch(path, { method: "DELETE" });
      }
      return written;
    })();
    for (let time = 0; time < 5; time += 1) {
      await makeBackup();
      await restore();
      // It refuses to start when one database names what the other does not have.
      const other = await api.reopen(restored);
      await other.close();
      await rm(backup, { recursive: true, force: true });
      await rm(restored, { recursive: true, force: true });
    }
    stop.abort();
    expect(await writing).toBeGreaterThan(5);
  });

  test("the master key may stay elsewhere; without it, or with another, nothing is restored", async () => {
    await populate();
    const key = (await readFile(join(api.directory, "master.key"), "utf8")).trim();
    await makeBackup({ isWithoutKey: true });
    await expect(restore()).rejects.toThrow(/ATOLL_MASTER_KEY/);
    await expect(restore("ab".repeat(32))).rejects.toThrow(/does not open/);
    await expect(stat(restored)).rejects.toMatchObject({ code: "ENOENT" });
    await restore(key);
    expect(await readdir(restored)).not.toContain("master.key");
  });

  test("a file of keys that the control plane no longer runs with is left out", async () => {
    await populate();
    const key = (await readFile(join(api.directory, "master.key"), "utf8")).trim();
    await writeFile(join(api.directory, "master.key"), `${"ab".repeat(32)}\n`);
    expect((await makeBackup()).files).not.toHaveProperty(["master.key"]);
    await expect(restore()).rejects.toThrow(/ATOLL_MASTER_KEY/);
    await restore(key);
    expect(await readdir(backup)).not.toContain("master.key");
  });

  test("a folder that is not empty is refused on either side, and stays as it was", async () => {
    await populate();
    await mkdir(backup, { recursive: true });
    await mkdir(restored, { recursive: true });
    await makeBackup();
    await expect(makeBackup()).rejects.toThrow(/not empty/);
    await writeFile(join(restored, "precious"), "");
    await expect(restore()).rejects.toThrow(/not empty/);
    expect(await readdir(restored)).toEqual(["precious"]);
  });

  test("a place that no folder can take is refused at once, and what the machine refuses is one sentence", async () => {
    await populate();
    await makeBackup();
    const options = { dataDirectory: api.directory, isWithoutKey: false, now: NOW };
    const restoring = { from: backup, masterKey: undefined, now: NOW };
    const mounted = { name: "BackupError", message: /^\/proc is where a disk is mounted/ };
    await expect(backUp({ ...options, to: "/proc" })).rejects.toMatchObject(mounted);
    const intoMounted = restoreBackup({ ...restoring, dataDirectory: "/proc" });
    await expect(intoMounted).rejects.toMatchObject(mounted);
    const file = join(backup, "manifest.json");
    const noFolder = { name: "BackupError", message: `${file} is not a folder` };
    await expect(backUp({ ...options, to: file })).rejects.toMatchObject(noFolder);
    const below = { name: "BackupError", message: /^ENOTDIR/ };
    await expect(backUp({ ...options, to: join(file, "x") })).rejects.toMatchObject(below);
    const full = restoreBackup({ ...restoring, dataDirectory: join(file, "x", "y") });
    await expect(full).rejects.toMatchObject(below);
  });

  test("what is no installation, or no backup, is refused", async () => {
    const empty = join(api.directory, "empty");
    await mkdir(empty);
    const options = { to: backup, isWithoutKey: false, now: NOW };
    await expect(backUp({ ...options, dataDirectory: empty })).rejects.toThrow(
      /not the data folder/,
    );
    await rm(join(api.directory, "kv.sqlite-none"), { force: true });
    await copyFile(
      join(api.directory, "control-plane.sqlite"),
      join(empty, "control-plane.sqlite"),
    );
    await expect(backUp({ ...options, dataDirectory: empty })).rejects.toThrow(/PostgreSQL/);
    await mkdir(backup, { recursive: true });
    await expect(restore()).rejects.toThrow(/no backup/);
    await writeFile(join(backup, "manifest.json"), "{");
    await expect(restore()).rejects.toThrow(/not JSON/);
    await writeFile(join(backup, "manifest.json"), '{"format":2}');
    await expect(restore()).rejects.toThrow(/format that this Atoll does not know/);
  });

  test("what was moved elsewhere is not backed up: it is no longer what nodes have", async () => {
    await populate();
    await writeMoveMark(api.directory, {
      ...{ format: 1, installation: "x", movedAt: NOW.toISOString() },
      ...{ database: "postgres://db/atoll", blobStore: "s3://bucket/atoll/" },
      summary: { tables: 0, rows: 0, namespaces: 0, keys: 0, blobs: 0, values: 0 },
    });
    await expect(makeBackup()).rejects.toThrow(/was moved on 2026-11-20.* to postgres:\/\/db/);
    expect(existsSync(join(api.directory, "elsewhere"))).toBe(false);
    await removeMoveMark(api.directory);
    await expect(makeBackup()).resolves.toMatchObject({ values: 1 });
  });

  test("a blob that is missing or damaged ends a backup by its name, and leaves nothing", async () => {
    await populate();
    const hash = blobHashOf(Buffer.from(String(MAIN_MODULE.content)));
    const path = join(api.directory, "blobs", hash.slice(0, 2), hash);
    const content = await readFile(path);
    await writeFile(path, "damaged");
    await expect(makeBackup()).rejects.toThrow(hash);
    await rm(path);
    await expect(makeBackup()).rejects.toThrow(`The blob ${hash} is named, but is not there`);
    expect(await readdir(join(api.directory, "elsewhere"))).toEqual([]);
    await writeFile(path, content);
    await makeBackup();
  });

  test("a backup that was damaged since is refused by the part's name, and nothing is restored", async () => {
    await populate();
    await makeBackup();
    const hash = blobHashOf(VALUE);
    const parts = [
      ["control-plane.sqlite", /control-plane.sqlite of the backup is damaged/],
      ["kv.sqlite", /kv.sqlite of the backup is damaged/],
      ["master.key", /master.key of the backup is damaged/],
      [join("kv-values", hash.slice(0, 2), hash), new RegExp(hash)],
    ] as const;
    for (const [name, message] of parts) {
      const path = join(backup, name);
      const content = await readFile(path);
      const changed = Buffer.from(content);
      changed[100] = (changed[100] ?? 0) ^ 1;
      await writeFile(path, name === "master.key" ? "ab".repeat(32) : changed);
      await expect(restore(), name).rejects.toThrow(message);
      await rm(path);
      await expect(restore(), name).rejects.toThrow();
      await expect(stat(restored)).rejects.toMatchObject({ code: "ENOENT" });
      await writeFile(path, content);
    }
    await restore();
  });

  test("an attempt that was killed is no obstacle to the next", async () => {
    await populate();
    for (const folder of [`${backup}.partial`, `${restored}.restoring`]) {
      await mkdir(folder, { recursive: true });
      const database = new SqliteDatabase(join(folder, "control-plane.sqlite"));
      database.exec("CREATE TABLE half (id)");
      database.close();
    }
    await makeBackup();
    await restore();
    expect((await readdir(join(api.directory, "elsewhere"))).sort()).toEqual([
      "backup",
      "restored",
    ]);
  });
});
