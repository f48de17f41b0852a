import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
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

test("database: a file that is none is refused", async () => {
  await writeFile(path, "not a database, but long enough to be looked at as one".repeat(20));
  await expect(openSqliteDatabase(path)).rejects.toThrow(/not a database/);
});
