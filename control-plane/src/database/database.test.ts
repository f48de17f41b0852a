import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSqliteDatabase } from "./database.ts";

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-database-"));
  path = join(directory, "control-plane.sqlite");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const ACCOUNT = { id: "a", name: "A", created_at: "2026-01-01T00:00:00.000Z" };

test("database: what was written is there when it is opened again", async () => {
  const first = await openSqliteDatabase(path);
  await first.insertInto("accounts").values(ACCOUNT).execute();
  await first.destroy();
  const second = await openSqliteDatabase(path);
  expect(await second.selectFrom("accounts").selectAll().execute()).toMatchObject([ACCOUNT]);
  await second.destroy();
});

test("database: commits are synced, and references are enforced", async () => {
  const database = await openSqliteDatabase(path);
  const mode = await sql`pragma journal_mode`.execute(database);
  const synchronous = await sql`pragma synchronous`.execute(database);
  expect([mode.rows, synchronous.rows]).toEqual([[{ journal_mode: "wal" }], [{ synchronous: 2 }]]);
  const token = { id: "t", account_id: "nobody", name: "", token_hash: "", created_at: "" };
  const orphan = database.insertInto("api_tokens").values(token).execute();
  await expect(orphan).rejects.toThrow(/FOREIGN KEY/);
  await database.destroy();
});

test("database: a transaction that fails leaves nothing", async () => {
  const database = await openSqliteDatabase(path);
  const failing = database.transaction().execute(async (transaction) => {
    await transaction.insertInto("accounts").values(ACCOUNT).execute();
    throw new Error("changed its mind");
  });
  await expect(failing).rejects.toThrow("changed its mind");
  expect(await database.selectFrom("accounts").selectAll().execute()).toEqual([]);
  await database.destroy();
});

test("database: a file that is none is refused", async () => {
  await writeFile(path, "not a database, but long enough to be looked at as one".repeat(20));
  await expect(openSqliteDatabase(path)).rejects.toThrow(/not a database/);
});
