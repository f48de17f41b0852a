import { existsSync } from "node:fs";
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { KeptStatements } from "./kept-statements.ts";
import { openSqliteDatabase } from "./sqlite-database.ts";

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-database-"));
  path = join(directory, "control-plane.sqlite");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test("database: commits are synced", async () => {
  const database = await openSqliteDatabase(path);
  const mode = await sql`pragma journal_mode`.execute(database);
  const synchronous = await sql`pragma synchronous`.execute(database);
  expect([mode.rows, synchronous.rows]).toEqual([[{ journal_mode: "wal" }], [{ synchronous: 2 }]]);
  await database.destroy();
});

test("database: its owner alone may read it, whoever may look into its folder", async () => {
  await chmod(directory, 0o755);
  const database = await openSqliteDatabase(path);
  const names = await readdir(directory);
  expect(names.toSorted()).toEqual([
    ...["control-plane.sqlite", "control-plane.sqlite-shm", "control-plane.sqlite-wal"],
  ]);
  for (const name of names) {
    expect([name, (await stat(join(directory, name))).mode & 0o777]).toEqual([name, 0o600]);
  }
  await database.destroy();
});

test("database: one in memory makes no file", async () => {
  const database = await openSqliteDatabase(":memory:");
  expect(existsSync(":memory:")).toBe(false);
  await database.destroy();
});

test("database: a file that is none is refused", async () => {
  await writeFile(path, "not a database, but long enough to be looked at as one".repeat(20));
  await expect(openSqliteDatabase(path)).rejects.toThrow(/not a database/);
});

test("database: a statement that is kept sees tables as they are, and what it failed with is gone", async () => {
  const database = await openSqliteDatabase(path);
  await sql`create table things (name text primary key)`.execute(database);
  const insert = (name: string) =>
    sql`insert into things (name) values (${name})`.execute(database);
  const list = async () => (await sql`select * from things order by name`.execute(database)).rows;
  await insert("a");
  expect(await list()).toEqual([{ name: "a" }]);
  await expect(insert("a")).rejects.toThrow(/UNIQUE/);
  await insert("b");
  await sql`alter table things add column size integer not null default 7`.execute(database);
  expect(await list()).toEqual([
    { name: "a", size: 7 },
    { name: "b", size: 7 },
  ]);
  await database.destroy();
  await expect(list()).rejects.toThrow();
});

test("database: of many different statements those used last are kept, as far as there is room for them", () => {
  const file = new SqliteDatabase(path);
  const kept = new KeptStatements(file);
  const first = kept.prepare("select 0");
  const short = kept.prepare("select 1");
  const longText = `select '${"x".repeat(LIMITS.sqliteStatementCharactersMax - 30)}'`;
  const long = kept.prepare(longText);
  expect([kept.prepare("select 0"), kept.prepare(longText)]).toEqual([first, long]);
  expect(kept.prepare("select 0")).toBe(first);
  expect(kept.prepare("select 2")).not.toBe(first);
  // There was room for two of these beside the long one: the one that was used last longest ago went.
  expect(kept.prepare("select 0")).toBe(first);
  expect(kept.prepare("select 1")).not.toBe(short);
  const tooLong = `${longText}, '${"y".repeat(30)}'`;
  expect(kept.prepare(tooLong)).not.toBe(kept.prepare(tooLong));
  kept.close();
});
