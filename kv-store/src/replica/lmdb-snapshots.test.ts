import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Key } from "../entry.ts";
import type { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { Revision } from "../names.ts";
import {
  NAMESPACE,
  OTHER,
  putText,
  ReplicaBench,
  snapshotActions,
} from "../test-support/replica-bench.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { waitFor } from "../test-support/wait-for.ts";
import type { StoreAction } from "./replica.ts";

const run = promisify(execFile);

const NINE = new TrackedState(9).take([putText("j", "9")]);
const PAGE = {
  through: Key.parse("l"),
  operations: [putText("l", "x")],
  revisions: [Revision.parse(9)],
};
const BATCH = { ...NINE, revision: Revision.parse(11), operations: [putText("l", "x")] };

let bench: ReplicaBench;
beforeEach(async () => {
  bench = await ReplicaBench.open();
});
afterEach(() => bench.close());

/** How many entries there are on disk, of whatever slot: another process looks, as LMDB wants it. */
async function entryCount(): Promise<number> {
  const names = { name: "entries", keyEncoding: "binary", encoding: "binary" };
  const script = `import { open } from "lmdb";
    const root = open(${JSON.stringify({ path: bench.directory, noSubdir: false, readOnly: true })});
    console.log(root.openDB(${JSON.stringify(names)}).getCount());`;
  const flags = ["--input-type=module", "--eval", script];
  const { stdout } = await run(process.execPath, flags, { cwd: import.meta.dirname });
  return Number(stdout);
}

test("LmdbReplica: a snapshot replaces everything at once, and reads go on until then", async () => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("old", "1"), putText("both", "1")]]);
  const [start, page, end] = snapshotActions(9, [[putText("both", "9")]]);
  for (const action of [start, page]) if (action) await bench.replica.store(NAMESPACE, action);
  expect([bench.textOf("old"), bench.textOf("both"), bench.replica.revision(NAMESPACE)]).toEqual([
    "1",
    "1",
    1,
  ]);
  if (end) await bench.replica.store(NAMESPACE, end);
  expect([bench.textOf("old"), bench.textOf("both"), bench.replica.revision(NAMESPACE)]).toEqual([
    undefined,
    "9",
    9,
  ]);
});

test("LmdbReplica: what happens while a snapshot is collected is in it, whenever its page was read", async () => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("held", "1")]]);
  const [a, b, c] = [Key.parse("a"), Key.parse("b"), Key.parse("c")];
  const at = (revision: number): Revision => Revision.parse(revision);
  const { digest } = new TrackedState().point;
  const end = new TrackedState(8).take([putText("b", "5"), putText("c", "8")]);
  await Promise.all(
    (
      [
        { kind: "snapshot-start", revision: at(5), digest },
        {
          kind: "snapshot-page",
          after: null,
          through: b,
          operations: [putText("a", "5"), putText("b", "5")],
          revisions: [at(5), at(5)],
        },
        {
          kind: "snapshot-batch",
          after: at(5),
          revision: at(7),
          // Of no use before the end: what is collected is not a state yet.
          digest,
          operations: [{ kind: "delete", key: a }, putText("c", "7")],
        },
        {
          kind: "snapshot-page",
          after: b,
          through: c,
          operations: [putText("c", "8")],
          revisions: [at(8)],
        },
        { kind: "snapshot-batch", after: at(7), ...end, operations: [putText("c", "8")] },
        { kind: "snapshot-end", ...end, through: c },
      ] as const
    ).map((action) => bench.replica.store(NAMESPACE, action)),
  );
  expect(["a", "b", "c", "held"].map((key) => bench.textOf(key))).toEqual([
    undefined,
    "5",
    "8",
    undefined,
  ]);
  expect([bench.replica.revision(NAMESPACE), bench.replica.snapshot(NAMESPACE)]).toEqual([
    8,
    undefined,
  ]);
});

test.each<[string, StoreAction]>([
  ["a page that leaves a gap", { kind: "snapshot-page", after: Key.parse("k"), ...PAGE }],
  ["a page that comes again", { kind: "snapshot-page", after: null, ...PAGE }],
  ["a batch that leaves a gap", { kind: "snapshot-batch", ...BATCH, after: Revision.parse(8) }],
  ["an end that lacks a page", { kind: "snapshot-end", ...NINE, through: Key.parse("z") }],
  [
    "an end that lacks a batch",
    { kind: "snapshot-end", ...NINE, revision: Revision.parse(10), through: Key.parse("j") },
  ],
])("LmdbReplica: %s changes nothing", async (_what, action) => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("k", "1")]]);
  const begun = snapshotActions(9, [[putText("j", "9")]]).slice(0, -1);
  for (const each of begun) await bench.replica.store(NAMESPACE, each);
  await expect(bench.replica.store(NAMESPACE, action)).rejects.toMatchObject({
    code: "replica_behind",
  });
  expect([bench.textOf("k"), bench.replica.revision(NAMESPACE)]).toEqual(["1", 1]);
  expect(bench.replica.snapshot(NAMESPACE)).toEqual({ ...NINE, after: "j" });
  // It goes on where it was.
  const through = Key.parse("j");
  await bench.replica.store(NAMESPACE, { kind: "snapshot-end", ...NINE, through });
  expect([bench.textOf("j"), bench.textOf("k"), bench.replica.revision(NAMESPACE)]).toEqual([
    "9",
    undefined,
    9,
  ]);
});

test("LmdbReplica: a second start forgets what the first collected", async () => {
  const begun = snapshotActions(1, [[putText("first", "1")]]).slice(0, -1);
  for (const each of begun) await bench.replica.store(NAMESPACE, each);
  await bench.storeSnapshot(NAMESPACE, 2, [[putText("second", "2")]]);
  expect([bench.textOf("first"), bench.textOf("second")]).toEqual([undefined, "2"]);
  await waitFor(async () => expect(await entryCount()).toBe(1));
});

test("LmdbReplica: a snapshot that proves damaged takes none with it that was begun behind it", async () => {
  const begun = snapshotActions(1, [[putText("first", "1")]]).slice(0, -1);
  const { digest } = new TrackedState(1).take([putText("other", "1")]);
  const through = Key.parse("first");
  const end = { kind: "snapshot-end", revision: Revision.parse(1), digest, through } as const;
  const next = snapshotActions(2, [[putText("second", "2")]]);
  const ended: string[] = [];
  const store = async (action: StoreAction): Promise<void> => {
    const [stored] = await Promise.allSettled([bench.replica.store(NAMESPACE, action)]);
    const failure = stored.status === "rejected" ? ` ${(stored.reason as KvError).code}` : "";
    ended.push(action.kind + failure);
  };
  for (const each of begun) await store(each);
  // Its rest comes when all that was handed over with its start has ended.
  await Promise.all([end, ...next.slice(0, -1)].map(store));
  for (const each of next.slice(-1)) await store(each);
  const names = ["snapshot-start", "snapshot-page"];
  expect(ended).toEqual([...names, "snapshot-end replica_damaged", ...names, "snapshot-end"]);
  expect([bench.textOf("second"), bench.replica.revision(NAMESPACE)]).toEqual(["2", 2]);
  await waitFor(async () => expect(await entryCount()).toBe(1));
});

test("LmdbReplica: reopened, it holds the last revision and goes on with an unfinished snapshot", async () => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("k", "1")]]);
  await bench.storeBatch(1, [putText("k", "2")]);
  const [end, ...begun] = snapshotActions(9, [
    [putText("j", "9")],
    [putText("k", "9")],
  ]).toReversed();
  for (const each of begun.toReversed()) await bench.replica.store(NAMESPACE, each);
  await bench.reopen();
  expect([bench.textOf("j"), bench.textOf("k"), bench.replica.revision(NAMESPACE)]).toEqual([
    undefined,
    "2",
    2,
  ]);
  expect(bench.replica.snapshot(NAMESPACE)).toMatchObject({ revision: 9, after: "k" });
  if (end) await bench.replica.store(NAMESPACE, end);
  expect([bench.textOf("j"), bench.textOf("k"), bench.replica.revision(NAMESPACE)]).toEqual([
    "9",
    "9",
    9,
  ]);
});

test("LmdbReplica: an unfinished snapshot alone is something that a drop removes", async () => {
  const begun = snapshotActions(9, [[putText("j", "9")]]).slice(0, -1);
  for (const each of begun) await bench.replica.store(NAMESPACE, each);
  expect([bench.replica.held(), bench.replica.revision(NAMESPACE)]).toEqual([
    [NAMESPACE],
    undefined,
  ]);
  await bench.replica.store(NAMESPACE, { kind: "drop" });
  expect([bench.replica.held(), bench.replica.snapshot(NAMESPACE)]).toEqual([[], undefined]);
  await waitFor(async () => expect(await entryCount()).toBe(0));
});

test("LmdbReplica: a dropped namespace is gone at once, its neighbour is not", async () => {
  const many = Array.from({ length: LIMITS.replicaDropRowsMax + 1 }, (_, index) =>
    putText(`k${index}`, "x"),
  );
  await bench.storeSnapshot(NAMESPACE, 1, [many]);
  await bench.storeSnapshot(OTHER, 1, [[putText("k1", "other")]]);
  const dropped = bench.replica.store(NAMESPACE, { kind: "drop" });
  expect(bench.replica.revision(NAMESPACE)).toBeUndefined();
  await dropped;
  expect([bench.textOf("k1", OTHER), bench.replica.held()]).toEqual(["other", [OTHER]]);
  await bench.storeSnapshot(NAMESPACE, 2, [[putText("k2", "again")]]);
  expect([bench.textOf("k1"), bench.textOf("k2")]).toEqual([undefined, "again"]);
});

test("LmdbReplica: a drop is the last word on all that was handed over before it", async () => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("k", "1")]]);
  const settled = await Promise.allSettled([
    bench.storeBatch(1, [putText("k", "2")]),
    bench.storeSnapshot(NAMESPACE, 9, [[putText("k", "9")]]),
    bench.replica.store(NAMESPACE, { kind: "drop" }),
  ]);
  expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled"]);
  expect([bench.replica.revision(NAMESPACE), bench.replica.held()]).toEqual([undefined, []]);
  expect(() => bench.replica.get(NAMESPACE, "k")).toThrowError(
    expect.objectContaining({ code: "replica_behind" }),
  );
  await bench.reopen();
  expect(bench.replica.held()).toEqual([]);
});

test("LmdbReplica: what is handed over after a drop is kept, whatever was under way before it", async () => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("old", "1")]]);
  await Promise.all([
    bench.storeBatch(1, [putText("old", "2")]),
    bench.storeSnapshot(NAMESPACE, 5, [[putText("old", "5")]]),
    bench.replica.store(NAMESPACE, { kind: "drop" }),
    bench.storeSnapshot(NAMESPACE, 7, [[putText("new", "7")]]),
    bench.storeBatch(7, [putText("next", "8")]),
  ]);
  const seen = (): unknown => [bench.textOf("old"), bench.textOf("new"), bench.textOf("next")];
  expect([seen(), bench.replica.revision(NAMESPACE)]).toEqual([[undefined, "7", "8"], 8]);
  await bench.reopen();
  expect([seen(), bench.replica.revision(NAMESPACE)]).toEqual([[undefined, "7", "8"], 8]);
});

test("LmdbReplica: what a dropped namespace took on disk is given back", async () => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("a", "1")]]);
  await bench.storeSnapshot(OTHER, 1, [[putText("b", "1")]]);
  await Promise.all([
    bench.storeSnapshot(NAMESPACE, 2, [[putText("a", "2")], [putText("c", "2")]]),
    bench.replica.store(NAMESPACE, { kind: "drop" }),
  ]);
  await waitFor(async () => expect(await entryCount()).toBe(1));
});
