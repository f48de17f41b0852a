import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Key, NamespaceId, type KvEntry } from "@atoll/kv-store";
import { PostgresOrigin } from "@atoll/kv-store/postgres";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import SqliteDatabase from "better-sqlite3";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { blobHashOf } from "../blobs/blob-hash.ts";
import { openS3Blobs, type S3Blobs } from "../blobs/s3/s3-blobs.ts";
import type { S3Place } from "../blobs/s3/s3-bucket.ts";
import type { Database } from "../database/database.ts";
import { openDatabase } from "../database/open-database.ts";
import { readRevision } from "../desired-state/mutations.ts";
import { openInstallationKeys } from "../secrets/installation-keys.ts";
import { MasterKeys } from "../secrets/master-keys.ts";
import { ControlPlaneApi, MAIN_MODULE } from "../test-support/control-plane-api.ts";
import { FollowingNode } from "../test-support/following-node.ts";
import { S3_BUCKET, S3_CREDENTIALS, S3Server } from "../test-support/s3-server.ts";
import { moveInstallation, undoMove } from "./move-installation.ts";
import { OperatorError } from "../operator-error.ts";
import { MoveError, type MoveSummary } from "./move-mark.ts";

const NOW = new Date("2026-11-27T12:00:00.000Z");
const VALUE = randomBytes(100_000);
const log = pino({ level: "silent" });

let server: PostgresServer;
let s3: S3Server;
beforeAll(async () => {
  server = await PostgresServer.start();
  s3 = await S3Server.start();
}, 60_000);
afterAll(async () => {
  await server.remove();
  await s3.remove();
});

let api: ControlPlaneApi;
let namespace: NamespaceId;
let databaseName: string;
let databaseUrl: string;
let place: S3Place;
let blobs: S3Blobs;
let places = 0;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  databaseName = await server.createDatabase();
  databaseUrl = server.url(databaseName);
  const { endpoint } = s3;
  places += 1;
  const prefix = `place-${places}/`;
  place = { bucket: S3_BUCKET, prefix, endpoint, credentials: S3_CREDENTIALS };
  blobs = await openS3Blobs(place);
  namespace = await populate();
});
afterEach(async () => {
  blobs.close();
  await rm(api.directory, { recursive: true, force: true });
});

/** A worker with a secret, a namespace with a small and a large value, a node, and characters of every kind. */
async function populate(): Promise<NamespaceId> {
  const { result } = await api.call("POST A/storage/kv/namespaces", { title: "Wörter 🦊 \\ \" '" });
  const id = NamespaceId.parse(result.id);
  const path = `A/storage/kv/namespaces/${id}/values`;
  await api.fetch(`${path}/small`, { method: "PUT", body: "1" });
  await api.fetch(`${path}/large`, { method: "PUT", body: VALUE });
  await api.deploy("hello", { bindings: [{ type: "secret_text", name: "KEY", text: "hunter2" }] });
  await FollowingNode.enrol(api, "fra");
  return id;
}

async function stop(): Promise<void> {
  await api.controlPlane.close();
  await api.origin.close();
}

function move(
  options: { readonly masterKey?: string; readonly onProgress?: (text: string) => void } = {},
): Promise<MoveSummary> {
  const { masterKey, onProgress = () => {} } = options;
  const { directory: dataDirectory } = api;
  const blobStore = `s3://${place.bucket}/${place.prefix}`;
  const to = { databaseUrl, blobs, blobStore };
  return moveInstallation({ dataDirectory, masterKey, ...to, onProgress, now: NOW, log });
}

/** Rows of some tables, with all of their columns. */
async function rowsOf(database: Database): Promise<unknown> {
  const tables = [
    "accounts",
    "api_tokens",
    "versions",
    "version_secrets",
    "audit",
    "nodes",
  ] as const;
  const rows: unknown[] = [];
  for (const table of [...tables, "counters", "state_changes", "kv_namespaces"] as const) {
    const found = await database.selectFrom(table).selectAll().execute();
    rows.push(found.map((row) => JSON.stringify(row)).toSorted());
  }
  return rows;
}

const entriesOf = (origin: {
  get(id: NamespaceId, key: Key): Promise<KvEntry | undefined>;
}): Promise<unknown> =>
  Promise.all(["small", "large"].map((key) => origin.get(namespace, Key.parse(key))));

describe("move: ", () => {
  test("all of an installation is in the new places as it was, and nobody starts with the folder", async () => {
    const entries = await entriesOf(api.origin);
    const point = await api.origin.point(namespace);
    const { directory: dataDirectory } = api;
    // Its end writes the last of it.
    await stop();
    const source = await openDatabase({ dataDirectory });
    const before = await rowsOf(source);
    await source.destroy();
    const said: string[] = [];
    const summary = await move({ onProgress: (text) => said.push(text) });
    expect(summary).toMatchObject({ namespaces: 1, keys: 2, blobs: 1, values: 1 });
    expect(summary.rows).toBeGreaterThan(10);
    for (const step of ["blobs: 1 of 2 copied", "table versions: 1 rows", "blobs: 2 of 2 read"]) {
      expect(
        said.some((text) => text.startsWith(step)),
        step,
      ).toBe(true);
    }

    const database = await openDatabase({ dataDirectory, databaseUrl });
    expect(await rowsOf(database)).toEqual(before);
    const keys = { file: join(dataDirectory, "master.key"), fromEnvironment: undefined };
    await openInstallationKeys(database, await MasterKeys.load(keys));
    await database.destroy();
    const origin = await PostgresOrigin.open({ url: databaseUrl, clock: api.clock, log });
    expect(await entriesOf(origin)).toEqual(entries);
    expect(await origin.point(namespace)).toEqual(point);
    await origin.close();
    const hash = blobHashOf(Buffer.from(String(MAIN_MODULE.content)));
    expect(await blobs.open("blobs").get(hash)).toBeDefined();
    expect(Buffer.from((await blobs.open("kv-values").get(blobHashOf(VALUE))) ?? [])).toEqual(
      VALUE,
    );

    await expect(openDatabase({ dataDirectory })).rejects.toThrow(/was moved on 2026-11-27/);
    expect(await readFile(join(dataDirectory, "moved.json"), "utf8")).not.toContain("atoll@");
    // Whoever repeats it is told the same.
    expect(await move()).toEqual(summary);
  });

  test("one that was cut short at any step is finished by repeating it, and nobody starts in between", async () => {
    await stop();
    const steps = ["blobs: 1 of 2 copied", `${namespace}: comparing`, "table workers: 1"];
    for (const step of [...steps, "table accounts: comparing", "blobs: 2 of 2 read"]) {
      const cut = new Error("killed");
      const cutting = move({
        onProgress: (text) => {
          if (text.startsWith(step)) throw cut;
        },
      });
      await expect(cutting, step).rejects.toBe(cut);
      const starting = openDatabase({ dataDirectory: "nowhere", databaseUrl });
      await expect(starting, step).rejects.toThrow(/is not finished: run 'atoll migrate' again/);
    }
    expect(await move()).toMatchObject({ namespaces: 1, keys: 2, blobs: 1, values: 1 });
    // Six runs, each of which waits for the disk, also of a busy machine.
  }, 60_000);

  test("what changed in the folder after an interruption is moved, too, and what went does not stay", async () => {
    const interrupted = async (): Promise<void> => {
      const cut = new Error("killed");
      const onProgress = (text: string): void => {
        if (text.startsWith("table accounts: comparing")) throw cut;
      };
      await expect(move({ onProgress })).rejects.toBe(cut);
    };
    await stop();
    await interrupted();
    api = await api.reopen(api.directory);
    await api.deploy("later");
    await api.call(`DELETE A/storage/kv/namespaces/${namespace}`);
    const { result } = await api.call("POST A/storage/kv/namespaces", { title: "other" });
    const before = await rowsOf(api.controlPlane.database);
    await stop();
    expect(await move()).toMatchObject({ namespaces: 1, keys: 0, blobs: 1 });
    const database = await openDatabase({ dataDirectory: "nowhere", databaseUrl });
    expect(await rowsOf(database)).toEqual(before);
    await database.destroy();
    const origin = await PostgresOrigin.open({ url: databaseUrl, clock: api.clock, log });
    await expect(origin.point(namespace)).rejects.toMatchObject({ code: "namespace_not_found" });
    await origin.point(NamespaceId.parse(result.id));
    await origin.close();
  });

  test("of a mark without its end in the database the next run makes one", async () => {
    await stop();
    const summary = await move();
    await server.query(databaseName, "UPDATE atoll.moves SET finished_at = NULL");
    await expect(openDatabase({ dataDirectory: "nowhere", databaseUrl })).rejects.toThrow();
    expect(await move()).toEqual(summary);
    await (await openDatabase({ dataDirectory: "nowhere", databaseUrl })).destroy();
  });

  test("undone, the folder goes on above all revisions that nodes have seen", async () => {
    const { directory: dataDirectory } = api;
    await stop();
    await expect(undoMove({ dataDirectory, now: NOW })).rejects.toThrow(/was not moved/);
    await move();
    await undoMove({ dataDirectory, now: NOW });
    const database = await openDatabase({ dataDirectory });
    expect(await readRevision(database)).toBe(NOW.getTime());
    await database.destroy();
    await expect(move()).rejects.toThrow(/was moved to the database on .* already/);
  });
});

test("move: who waits for the folder while its move ends does not start with it", async () => {
  await stop();
  await move();
  const mark = join(api.directory, "moved.json");
  const aside = join(api.directory, "aside.json");
  await rename(mark, aside);
  // As a move does: the mark is there before the file is free.
  const moving = spawn(process.execPath, [
    "-e",
    `const file = new (require("better-sqlite3"))(process.argv[1]);
     file.pragma("locking_mode = EXCLUSIVE");
     file.exec("BEGIN EXCLUSIVE; COMMIT");
     console.log("locked");
     setTimeout(() => require("node:fs").renameSync(process.argv[2], process.argv[3]), 300);`,
    ...[join(api.directory, "control-plane.sqlite"), aside, mark],
  ]);
  await once(moving.stdout, "data");
  await expect(openDatabase({ dataDirectory: api.directory })).rejects.toThrow(/was moved on/);
});

describe("move: refused, and nothing is changed, with ", () => {
  /** What the operator is told. */
  async function refusal(options: Parameters<typeof move>[0] = {}): Promise<string> {
    const outcome = await move(options).catch((error: unknown) => error);
    if (outcome instanceof MoveError || outcome instanceof OperatorError) return outcome.message;
    throw new Error("it was not refused", { cause: outcome });
  }

  function changeAccounts(change: string): void {
    const file = new SqliteDatabase(join(api.directory, "control-plane.sqlite"));
    file.exec(`UPDATE accounts ${change}`);
    file.close();
  }

  test("a control plane that runs", async () => {
    expect(await refusal()).toMatch(/kv.sqlite is in use: stop the control plane first/);
    await api.origin.close();
    expect(await refusal()).toMatch(/control-plane.sqlite is in use/);
    await api.controlPlane.close();
    await move();
  });

  test("places that are not empty", async () => {
    await stop();
    const object = Buffer.from("of somebody else");
    await blobs.open("blobs").put(blobHashOf(object), object);
    expect(await refusal()).toMatch(/s3:\/\/atoll-test\/place-\d+\/ is not empty/);
    await blobs.open("blobs").remove(blobHashOf(object));
    await server.query(databaseName, "INSERT INTO atoll.counters VALUES ('other', 1)");
    expect(await refusal()).toMatch(/its table counters has rows/);
    await server.query(databaseName, "DELETE FROM atoll.counters");
    const origin = await PostgresOrigin.open({ url: databaseUrl, clock: api.clock, log });
    const other = NamespaceId.parse("f".repeat(32));
    await origin.createNamespace(other);
    expect(await refusal()).toMatch(/its table atoll_kv.namespaces has rows/);
    await origin.deleteNamespace(other);
    await origin.close();
    await server.query(
      databaseName,
      "INSERT INTO atoll.moves VALUES ('another', 's3://elsewhere', '2026', NULL)",
    );
    expect(await refusal()).toMatch(/that of another installation/);
    await server.query(databaseName, "DELETE FROM atoll.moves");
    await move();
  });

  test("places that are not there, or do not let us in", async () => {
    await stop();
    const right = { databaseUrl, blobs };
    databaseUrl = databaseUrl.replace("atoll@", "nobody@");
    expect(await refusal()).toMatch(/role "nobody" does not exist/);
    databaseUrl = server.url("none");
    expect(await refusal()).toMatch(/database "none" does not exist/);
    databaseUrl = "postgres://atoll@127.0.0.1:1/none";
    expect(await refusal()).toMatch(/ECONNREFUSED/);
    ({ databaseUrl } = right);
    await s3.removeBucket();
    expect(await refusal()).toMatch(/the bucket 'atoll-test' .* does not exist/);
    await s3.makeBucket();
    blobs.close();
    await expect(
      openS3Blobs({ ...place, credentials: { accessKeyId: "other", secretAccessKey: "other" } }),
    ).rejects.toThrow(/InvalidAccessKeyId|403/);
    blobs = await openS3Blobs(place);
    await move();
  });

  test("another move into the same database under way", async () => {
    await stop();
    let other: Promise<string> | undefined;
    const onProgress = (): void => {
      other ??= refusal();
    };
    await move({ onProgress });
    expect(await other).toMatch(/Another move into this database is under way/);
  });

  test("databases of a newer version on either side", async () => {
    await stop();
    const newer = "INSERT INTO kysely_migration VALUES ('9999-newer', '2027-01-01')";
    const file = new SqliteDatabase(join(api.directory, "control-plane.sqlite"));
    file.exec(newer);
    file.close();
    expect(await refusal()).toMatch(/9999-newer/);
    const again = new SqliteDatabase(join(api.directory, "control-plane.sqlite"));
    again.exec("DELETE FROM kysely_migration WHERE name = '9999-newer'");
    again.close();
    await server.query(databaseName, `SET search_path = atoll; ${newer}`);
    expect(await refusal()).toMatch(/9999-newer/);
    await server.query(databaseName, "DELETE FROM atoll.kysely_migration WHERE name > '9'");
    await move();
  });

  test("a folder that is no embedded installation", async () => {
    await stop();
    const { directory } = api;
    await rename(join(directory, "kv.sqlite"), join(directory, "away"));
    expect(await refusal()).toMatch(/has no kv.sqlite/);
    await rename(join(directory, "control-plane.sqlite"), join(directory, "away-too"));
    expect(await refusal()).toMatch(/not the data folder/);
    await writeFile(join(directory, "control-plane.sqlite"), "no database at all".repeat(100));
    await rename(join(directory, "away"), join(directory, "kv.sqlite"));
    expect(await refusal()).toMatch(/not a database/);
  });

  test("a master key that does not open what is sealed, or none", async () => {
    await stop();
    expect(await refusal({ masterKey: "ab".repeat(32) })).toMatch(/does not open/);
    await rename(join(api.directory, "master.key"), join(api.directory, "away"));
    expect(await refusal()).toMatch(/set ATOLL_MASTER_KEY/);
    const masterKey = (await readFile(join(api.directory, "away"), "utf8")).trim();
    await move({ masterKey });
  });

  test("a blob that is damaged or missing, or a text that PostgreSQL can't hold", async () => {
    await stop();
    const hash = blobHashOf(VALUE);
    const path = join(api.directory, "kv-values", hash.slice(0, 2), hash);
    await writeFile(path, "damaged");
    expect(await refusal()).toMatch(new RegExp(`${hash}.*The folder is as it was`));
    await rm(path);
    expect(await refusal()).toMatch(new RegExp(`The blob ${hash} is named, but is not there`));
    await writeFile(path, VALUE);
    changeAccounts("SET name = 'a' || char(0) || 'b' WHERE name = 'Theirs'");
    expect(await refusal()).toMatch(/table accounts: .*u0000/);
    changeAccounts("SET name = 'Theirs' WHERE name <> 'Ours'");
    await move();
  });
});
