import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../clock.ts";
import { Key } from "../entry.ts";
import { NamespaceId } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { put, remove } from "../test-support/origin-place.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { checkNamespace } from "./namespace-check.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const HASH = "ab".repeat(32);

let directory: string;
let path: string;
let origin: SqliteOrigin;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-check-"));
  path = join(directory, "kv.sqlite");
  origin = SqliteOrigin.open({ path, clock: systemClock, log: new RecordedLog() });
  await origin.createNamespace(NAMESPACE);
  const value = { kind: "blob", hash: HASH, size: 70_000 } as const;
  await origin.claimValue(value.hash);
  await origin.write(NAMESPACE, [{ kind: "put", key: Key.parse("large"), value }, put("a", "1")]);
  await origin.write(NAMESPACE, [put("a", "2"), put("b", "2"), remove("gone")]);
  await origin.write(NAMESPACE, [remove("b"), put("c", "3")]);
});
afterEach(async () => {
  await origin.close();
  await rm(directory, { recursive: true });
});

function check(wrongValue?: string): Promise<ReadonlyArray<string>> {
  return checkNamespace({ origin, namespace: NAMESPACE, checkValue: async () => wrongValue });
}

test("check: of what is sound nothing is said", async () => {
  expect(await check()).toEqual([]);
});

test("check: a large value that is not as it should be is named with its key", async () => {
  expect(await check("it is lost")).toEqual(['the large value of key "large": it is lost']);
});

test.each([
  ["DELETE FROM entries WHERE key = CAST('c' AS BLOB)", /entries as of revision 7 have the digest/],
  ["UPDATE entries SET value = x'39' WHERE key = CAST('c' AS BLOB)", /key "c" is damaged/],
  ["UPDATE namespaces SET keys = keys + 1", /are 3 keys, not 4/],
  ["UPDATE namespaces SET bytes = bytes - 1", /have \d+ bytes, not \d+/],
  ["UPDATE namespaces SET digest = log_start_digest", /entries as of revision 7 have the digest/],
  [
    "UPDATE log SET digest = '11111111111111111111111111111111' WHERE revision = 4",
    /record 4 of the log does not lead/,
  ],
  ["DELETE FROM log WHERE revision = 4", /no record between revisions 3 and 5/],
  ["DELETE FROM log WHERE revision = 7", /log ends at revision 6/],
  ["UPDATE log SET replaced_value = x'39' WHERE revision = 3", /key "a" is damaged/],
  ["UPDATE log SET replaced_digest = NULL WHERE revision = 6", /record 6 of the log does not lead/],
  ["UPDATE namespaces SET log_start_digest = digest", /record 1 of the log does not lead/],
])("check: %s is found", async (change, finding) => {
  const database = new SqliteDatabase(path);
  database.exec(change);
  database.close();
  expect((await check()).join("\n")).toMatch(finding);
});

test("check: a namespace that is written to meanwhile is sound all the same", async () => {
  const checking = checkNamespace({
    origin,
    namespace: NAMESPACE,
    checkValue: async () => {
      await origin.write(NAMESPACE, [put("a", "9"), remove("c"), put("zz", "9")]);
      return undefined;
    },
  });
  expect(await checking).toEqual([]);
});
