import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { expect, test } from "vitest";
import { ManualClock } from "../test-support/manual-clock.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
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
      open: async (clock) => SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log }),
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
    INSERT INTO entries (namespace_id, key, value) VALUES (7, x'61', x'62');
    INSERT INTO log (namespace_id, revision, operation) VALUES (7, 1, x'00');
  `);
  const origin = SqliteOrigin.open({ path, clock, log });
  await origin.expire(0);
  await origin.close();
  const count = (table: string): unknown =>
    database.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  expect(["entries", "log", "removed_namespaces"].map(count)).toEqual([0, 0, 0]);
  database.close();
  await rm(directory, { recursive: true });
});
