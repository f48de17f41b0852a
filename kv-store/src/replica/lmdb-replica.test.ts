import { stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { Revision } from "../names.ts";
import { NAMESPACE, putText, ReplicaBench } from "../test-support/replica-bench.ts";
import { TrackedState } from "../test-support/tracked-state.ts";

let bench: ReplicaBench;
beforeEach(async () => {
  bench = await ReplicaBench.open();
});
afterEach(() => bench.close());

test("LmdbReplica: nothing is readable before a snapshot, and all of it after", async () => {
  expect(() => bench.replica.get(NAMESPACE, "a")).toThrowError(
    expect.objectContaining({ code: "replica_behind", retryable: true }),
  );
  expect(bench.replica.revision(NAMESPACE)).toBeUndefined();
  await bench.storeSnapshot(NAMESPACE, 7, [[putText("a", "1")], [putText("b", "2")]]);
  expect([bench.textOf("a"), bench.textOf("b"), bench.textOf("c")]).toEqual(["1", "2", undefined]);
  expect([bench.replica.revision(NAMESPACE), bench.replica.held()]).toEqual([7, [NAMESPACE]]);
});

test("LmdbReplica: batches handed over at once are applied in order", async () => {
  await bench.storeSnapshot(NAMESPACE, 0, []);
  await Promise.all([
    bench.storeBatch(0, [putText("k", "1")]),
    bench.storeBatch(1, [putText("k", "2"), { kind: "delete", key: Key.parse("gone") }]),
    bench.storeBatch(3, [putText("k", "4")]),
  ]);
  expect([bench.textOf("k"), bench.replica.revision(NAMESPACE)]).toEqual(["4", 4]);
});

test("LmdbReplica: a list shows nothing that a read after it does not show", async () => {
  await bench.storeSnapshot(NAMESPACE, 0, []);
  const listed = (): ReadonlyArray<string> =>
    bench.replica.list(NAMESPACE, { prefix: "", limit: 10 }).entries.map(({ key }) => key);
  expect(bench.textOf("k")).toBeUndefined();
  const storing = bench.storeBatch(0, [putText("k", "1")]);
  let keys: ReadonlyArray<string>;
  do {
    await nextTurn();
    // So LMDB's thread commits what was begun, and this one is not told of it yet.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    keys = listed();
    expect(bench.textOf("k")).toBe(keys.length === 0 ? undefined : "1");
  } while (keys.length === 0);
  await storing;
  expect(listed()).toEqual(["k"]);
});

test("LmdbReplica: a replica that is read all the time uses the space of what was replaced", async () => {
  await bench.storeSnapshot(NAMESPACE, 0, []);
  const rounds = 200;
  for (let round = 0; round < rounds; round += 1) {
    const text = String(round).padEnd(8_192, "x");
    await bench.storeBatch(round, [putText("k", text)]);
    expect(bench.textOf("k")).toBe(text);
  }
  const { size } = await stat(join(bench.directory, "data.mdb"));
  expect(size).toBeLessThan((rounds / 2) * 8_192);
});

test.each([
  ["leaves a gap", 2],
  ["repeats what is held", 0],
])("LmdbReplica: a batch that %s changes nothing", async (_what, after) => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("k", "1")]]);
  await expect(bench.storeBatch(after, [putText("k", "x")])).rejects.toMatchObject({
    code: "replica_behind",
  });
  expect([bench.textOf("k"), bench.replica.revision(NAMESPACE)]).toEqual(["1", 1]);
});

test("LmdbReplica: a change that fails in its middle leaves nothing of itself", async () => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("k", "1")]]);
  // Has no byte form: its length does not fit.
  const broken = { ...putText("broken", ""), metadata: "x".repeat(2 ** 16) };
  const operations = [putText("k", "2"), broken, putText("after", "2")];
  const point = { revision: Revision.parse(4), digest: bench.state.point.digest };
  const batch = { kind: "batch", after: Revision.parse(1), ...point, operations } as const;
  await expect(bench.replica.store(NAMESPACE, batch)).rejects.toMatchObject({
    code: "storage_failed",
  });
  expect([bench.textOf("k"), bench.textOf("after"), bench.replica.revision(NAMESPACE)]).toEqual([
    "1",
    undefined,
    1,
  ]);
  await bench.storeBatch(1, [putText("k", "3")]);
  expect([bench.textOf("k"), bench.replica.revision(NAMESPACE)]).toEqual(["3", 2]);
});

test("LmdbReplica: an entry is there until its second begins, and never again", async () => {
  const expiresAt = Math.floor(bench.clock.nowMs() / 1_000) + 60;
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("k", "1", expiresAt)]]);
  bench.clock.advance(expiresAt * 1_000 - bench.clock.nowMs() - 1);
  expect(bench.textOf("k")).toBe("1");
  expect(bench.replica.list(NAMESPACE, { prefix: "", limit: 10 }).entries).toEqual([
    { key: "k", expiresAt },
  ]);
  bench.clock.advance(1);
  expect(bench.textOf("k")).toBeUndefined();
  expect(bench.replica.list(NAMESPACE, { prefix: "", limit: 10 }).entries).toEqual([]);
});

test("LmdbReplica: what has expired is not back after another start, whatever the clocks say", async () => {
  const expiresAt = Math.floor(bench.clock.nowMs() / 1_000) + 60;
  await bench.storeSnapshot(NAMESPACE, 1, [
    [putText("k", "1", expiresAt), putText("later", "1", expiresAt + 60)],
  ]);
  bench.clock.advance(60_000);
  expect(bench.textOf("k")).toBeUndefined();
  await bench.reopen(async () => bench.clock.stepWall(-3_600_000));
  expect([bench.textOf("k"), bench.textOf("later")]).toEqual([undefined, "1"]);
  // It goes on from where it was, also without anybody to tell the time.
  bench.clock.advance(60_000);
  expect(bench.textOf("later")).toBeUndefined();
});

test("LmdbReplica: time goes on over a restart from its last second, also when nothing expired in it", async () => {
  bench.clock.advance(10_000);
  const reached = Math.floor((bench.replica.originNowMs() ?? 0) / 1_000);
  const entries = [putText("gone", "1", reached - 1), putText("there", "1", reached + 59)];
  await bench.storeSnapshot(NAMESPACE, 1, [entries]);
  await bench.reopen(async () => bench.clock.advance(60_000));
  expect([bench.textOf("gone"), bench.textOf("there")]).toEqual([undefined, "1"]);
});

test("LmdbReplica: after a restart nothing is dated by the time that was saved", async () => {
  const before = bench.replica.originNowMs() ?? 0;
  await bench.reopen(async () => bench.clock.advance(3_600_000));
  expect(bench.replica.originNowMs()).toBeUndefined();
  const originMs = before + 3_600_000;
  bench.replica.heard({ originMs, echoMs: bench.clock.monotonicMs() });
  expect(bench.replica.originNowMs()).toBe(originMs);
});

test("LmdbReplica: each entry has the revision of its write, from pages and from batches", async () => {
  const revisionOf = (key: string): number | undefined =>
    bench.replica.get(NAMESPACE, key)?.revision;
  const operations = [putText("a", "1"), putText("b", "1"), putText("old", "1")];
  const point = new TrackedState(7).take(operations);
  const revisions = [5, 7, 0].map((each) => Revision.parse(each));
  const page = { after: null, through: Key.parse("old"), operations, revisions };
  await bench.replica.store(NAMESPACE, { kind: "snapshot-start", ...point });
  await bench.replica.store(NAMESPACE, { kind: "snapshot-page", ...page });
  await bench.replica.store(NAMESPACE, { kind: "snapshot-end", ...point, through: page.through });
  expect(["a", "b", "old"].map(revisionOf)).toEqual([5, 7, undefined]);
  bench.state = new TrackedState(7);
  bench.state.take(operations);
  await bench.storeBatch(7, [putText("c", "1"), putText("a", "2"), putText("c", "2")]);
  expect(["a", "b", "c"].map(revisionOf)).toEqual([9, 7, 10]);
  await bench.reopen();
  expect(["a", "b", "c"].map(revisionOf)).toEqual([9, 7, 10]);
});

test("LmdbReplica: a listing goes by UTF-8 byte order through all pages", async () => {
  const keys = ["a", "z", "é", "\ufffd", "\u{10000}"];
  await bench.storeSnapshot(NAMESPACE, 1, [keys.toReversed().map((key) => putText(key, ""))]);
  const listed: string[] = [];
  let cursor: string | undefined;
  do {
    const options = { prefix: "", limit: 2, ...(cursor === undefined ? {} : { cursor }) };
    const page = bench.replica.list(NAMESPACE, options);
    listed.push(...page.entries.map(({ key }) => key));
    ({ cursor } = page);
  } while (cursor !== undefined);
  expect(listed).toEqual(keys);
});

test("LmdbReplica: a long run of expired entries ends a page early, with a cursor", async () => {
  const expiresAt = Math.floor(bench.clock.nowMs() / 1_000);
  const expired = Array.from({ length: LIMITS.listScanRowsMax + 1 }, (_, index) =>
    putText(`expired/${index}`, "", expiresAt),
  );
  await bench.storeSnapshot(NAMESPACE, 1, [[...expired, putText("live", "")]]);
  const first = bench.replica.list(NAMESPACE, { prefix: "", limit: 10 });
  expect(first.entries).toEqual([]);
  const { cursor = "" } = first;
  const second = bench.replica.list(NAMESPACE, { prefix: "", limit: 10, cursor });
  expect(second).toEqual({ entries: [{ key: "live" }] });
});

test("LmdbReplica: after close every call says so, and close may come twice", async () => {
  await bench.replica.close();
  await bench.replica.close();
  expect(() => bench.replica.get(NAMESPACE, "k")).toThrowError(
    expect.objectContaining({ code: "closed" }),
  );
  await expect(bench.replica.store(NAMESPACE, { kind: "drop" })).rejects.toMatchObject({
    code: "closed",
  });
});
