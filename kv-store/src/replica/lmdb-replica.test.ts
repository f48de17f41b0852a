import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { open as openLmdb } from "lmdb";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Key, type KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { LmdbReplica } from "./lmdb-replica.ts";
import type { StoreAction } from "./replica.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const OTHER = NamespaceId.parse("b".repeat(32));
// For what the disk has to do first, on a machine that does much else.
const WAIT = { timeout: 10_000, interval: 5 };
const run = promisify(execFile);

const NINE = new TrackedState(9).take([put("j", "9")]);
const PAGE = {
  through: Key.parse("l"),
  operations: [put("l", "x")],
  revisions: [Revision.parse(9)],
};
const BATCH = { ...NINE, revision: Revision.parse(11), operations: [put("l", "x")] };

let directory: string;
let clock: ManualClock;
let replica: LmdbReplica;

beforeEach(async () => {
  // A name with a dot: LMDB would otherwise take it for a file.
  directory = await mkdtemp(join(tmpdir(), "atoll.replica-"));
  clock = new ManualClock();
  replica = await open();
  hear(replica);
});
afterEach(async () => {
  await replica.close();
  await rm(directory, { recursive: true });
});

function open(): Promise<LmdbReplica> {
  return LmdbReplica.open({ directory, clock, log: new RecordedLog() });
}

/** The origin's clock shows what the node's does. */
function hear(hearing: LmdbReplica): void {
  hearing.heard({ originMs: clock.nowMs(), echoMs: clock.monotonicMs() });
}

function put(key: string, text: string, expiresAt?: number): KvOperation {
  const value = { kind: "inline", bytes: Buffer.from(text) } as const;
  return {
    kind: "put",
    key: Key.parse(key),
    value,
    ...(expiresAt === undefined ? {} : { expiresAt }),
  };
}

function textOf(key: string, namespace = NAMESPACE): string | undefined {
  const value = replica.get(namespace, key)?.value;
  return value?.kind === "inline" ? Buffer.from(value.bytes).toString() : undefined;
}

/** Says what state batches of NAMESPACE lead to, from the last snapshot that was stored whole. */
let state = new TrackedState();

function storeBatch(after: number, operations: ReadonlyArray<KvOperation>): Promise<void> {
  const { digest } = state.apply(operations);
  const revision = Revision.parse(after + operations.length);
  const batch = { kind: "batch", after: Revision.parse(after), revision, digest } as const;
  return replica.store(NAMESPACE, { ...batch, operations });
}

/** The actions that bring a snapshot as of one revision, page by page. */
function snapshotActions(
  revision: number,
  pages: ReadonlyArray<ReadonlyArray<KvOperation>>,
): StoreAction[] {
  const point = new TrackedState(revision).take(pages.flat());
  const actions: StoreAction[] = [{ kind: "snapshot-start", ...point }];
  let after: Key | null = null;
  for (const operations of pages) {
    const through = operations.at(-1)?.key ?? Key.parse("empty");
    const revisions = operations.map(() => Revision.parse(revision));
    actions.push({ kind: "snapshot-page", after, through, operations, revisions });
    after = through;
  }
  return [...actions, { kind: "snapshot-end", ...point, through: after }];
}

/** Hands over a whole snapshot without waiting in between, as the client does. */
async function storeSnapshot(
  namespace: NamespaceId,
  revision: number,
  pages: ReadonlyArray<ReadonlyArray<KvOperation>>,
): Promise<void> {
  if (namespace === NAMESPACE) {
    state = new TrackedState(revision);
    state.take(pages.flat());
  }
  await Promise.all(
    snapshotActions(revision, pages).map((action) => replica.store(namespace, action)),
  );
}

/** How many entries there are on disk, of whatever slot: another process looks, as LMDB wants it. */
async function entryCount(): Promise<number> {
  const names = { name: "entries", keyEncoding: "binary", encoding: "binary" };
  const script = `import { open } from "lmdb";
    const root = open(${JSON.stringify({ path: directory, noSubdir: false, readOnly: true })});
    console.log(root.openDB(${JSON.stringify(names)}).getCount());`;
  const flags = ["--input-type=module", "--eval", script];
  const { stdout } = await run(process.execPath, flags, { cwd: import.meta.dirname });
  return Number(stdout);
}

test("LmdbReplica: nothing is readable before a snapshot, and all of it after", async () => {
  expect(() => replica.get(NAMESPACE, "a")).toThrowError(
    expect.objectContaining({ code: "replica_behind", retryable: true }),
  );
  expect(replica.revision(NAMESPACE)).toBeUndefined();
  await storeSnapshot(NAMESPACE, 7, [[put("a", "1")], [put("b", "2")]]);
  expect([textOf("a"), textOf("b"), textOf("c")]).toEqual(["1", "2", undefined]);
  expect([replica.revision(NAMESPACE), replica.held()]).toEqual([7, [NAMESPACE]]);
});

test("LmdbReplica: batches handed over at once are applied in order", async () => {
  await storeSnapshot(NAMESPACE, 0, []);
  await Promise.all([
    storeBatch(0, [put("k", "1")]),
    storeBatch(1, [put("k", "2"), { kind: "delete", key: Key.parse("gone") }]),
    storeBatch(3, [put("k", "4")]),
  ]);
  expect([textOf("k"), replica.revision(NAMESPACE)]).toEqual(["4", 4]);
});

test.each([
  ["leaves a gap", 2],
  ["repeats what is held", 0],
])("LmdbReplica: a batch that %s changes nothing", async (_what, after) => {
  await storeSnapshot(NAMESPACE, 1, [[put("k", "1")]]);
  await expect(storeBatch(after, [put("k", "x")])).rejects.toMatchObject({
    code: "replica_behind",
  });
  expect([textOf("k"), replica.revision(NAMESPACE)]).toEqual(["1", 1]);
});

test("LmdbReplica: a change that fails in its middle leaves nothing of itself", async () => {
  await storeSnapshot(NAMESPACE, 1, [[put("k", "1")]]);
  // Has no byte form: its length does not fit.
  const broken = { ...put("broken", ""), metadata: "x".repeat(2 ** 16) };
  const operations = [put("k", "2"), broken, put("after", "2")];
  const point = { revision: Revision.parse(4), digest: state.point.digest };
  const batch = { kind: "batch", after: Revision.parse(1), ...point, operations } as const;
  await expect(replica.store(NAMESPACE, batch)).rejects.toMatchObject({ code: "storage_failed" });
  expect([textOf("k"), textOf("after"), replica.revision(NAMESPACE)]).toEqual(["1", undefined, 1]);
  await storeBatch(1, [put("k", "3")]);
  expect([textOf("k"), replica.revision(NAMESPACE)]).toEqual(["3", 2]);
});

test("LmdbReplica: a snapshot replaces everything at once, and reads go on until then", async () => {
  await storeSnapshot(NAMESPACE, 1, [[put("old", "1"), put("both", "1")]]);
  const [start, page, end] = snapshotActions(9, [[put("both", "9")]]);
  for (const action of [start, page]) if (action) await replica.store(NAMESPACE, action);
  expect([textOf("old"), textOf("both"), replica.revision(NAMESPACE)]).toEqual(["1", "1", 1]);
  if (end) await replica.store(NAMESPACE, end);
  expect([textOf("old"), textOf("both"), replica.revision(NAMESPACE)]).toEqual([undefined, "9", 9]);
});

test("LmdbReplica: what happens while a snapshot is collected is in it, whenever its page was read", async () => {
  await storeSnapshot(NAMESPACE, 1, [[put("held", "1")]]);
  const [a, b, c] = [Key.parse("a"), Key.parse("b"), Key.parse("c")];
  const at = (revision: number): Revision => Revision.parse(revision);
  const { digest } = new TrackedState().point;
  const end = new TrackedState(8).take([put("b", "5"), put("c", "8")]);
  await Promise.all(
    (
      [
        { kind: "snapshot-start", revision: at(5), digest },
        {
          kind: "snapshot-page",
          after: null,
          through: b,
          operations: [put("a", "5"), put("b", "5")],
          revisions: [at(5), at(5)],
        },
        {
          kind: "snapshot-batch",
          after: at(5),
          revision: at(7),
          // Of no use before the end: what is collected is not a state yet.
          digest,
          operations: [{ kind: "delete", key: a }, put("c", "7")],
        },
        {
          kind: "snapshot-page",
          after: b,
          through: c,
          operations: [put("c", "8")],
          revisions: [at(8)],
        },
        { kind: "snapshot-batch", after: at(7), ...end, operations: [put("c", "8")] },
        { kind: "snapshot-end", ...end, through: c },
      ] as const
    ).map((action) => replica.store(NAMESPACE, action)),
  );
  expect(["a", "b", "c", "held"].map((key) => textOf(key))).toEqual([
    undefined,
    "5",
    "8",
    undefined,
  ]);
  expect([replica.revision(NAMESPACE), replica.snapshot(NAMESPACE)]).toEqual([8, undefined]);
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
  await storeSnapshot(NAMESPACE, 1, [[put("k", "1")]]);
  const begun = snapshotActions(9, [[put("j", "9")]]).slice(0, -1);
  for (const each of begun) await replica.store(NAMESPACE, each);
  await expect(replica.store(NAMESPACE, action)).rejects.toMatchObject({ code: "replica_behind" });
  expect([textOf("k"), replica.revision(NAMESPACE)]).toEqual(["1", 1]);
  expect(replica.snapshot(NAMESPACE)).toEqual({ ...NINE, after: "j" });
  // It goes on where it was.
  const through = Key.parse("j");
  await replica.store(NAMESPACE, { kind: "snapshot-end", ...NINE, through });
  expect([textOf("j"), textOf("k"), replica.revision(NAMESPACE)]).toEqual(["9", undefined, 9]);
});

test("LmdbReplica: a second start forgets what the first collected", async () => {
  const begun = snapshotActions(1, [[put("first", "1")]]).slice(0, -1);
  for (const each of begun) await replica.store(NAMESPACE, each);
  await storeSnapshot(NAMESPACE, 2, [[put("second", "2")]]);
  expect([textOf("first"), textOf("second")]).toEqual([undefined, "2"]);
  await vi.waitFor(async () => expect(await entryCount()).toBe(1), WAIT);
});

test("LmdbReplica: reopened, it holds the last revision and goes on with an unfinished snapshot", async () => {
  await storeSnapshot(NAMESPACE, 1, [[put("k", "1")]]);
  await storeBatch(1, [put("k", "2")]);
  const [end, ...begun] = snapshotActions(9, [[put("j", "9")], [put("k", "9")]]).toReversed();
  for (const each of begun.toReversed()) await replica.store(NAMESPACE, each);
  await replica.close();
  replica = await open();
  expect([textOf("j"), textOf("k"), replica.revision(NAMESPACE)]).toEqual([undefined, "2", 2]);
  expect(replica.snapshot(NAMESPACE)).toMatchObject({ revision: 9, after: "k" });
  if (end) await replica.store(NAMESPACE, end);
  expect([textOf("j"), textOf("k"), replica.revision(NAMESPACE)]).toEqual(["9", "9", 9]);
});

test("LmdbReplica: an unfinished snapshot alone is something that a drop removes", async () => {
  const begun = snapshotActions(9, [[put("j", "9")]]).slice(0, -1);
  for (const each of begun) await replica.store(NAMESPACE, each);
  expect([replica.held(), replica.revision(NAMESPACE)]).toEqual([[NAMESPACE], undefined]);
  await replica.store(NAMESPACE, { kind: "drop" });
  expect([replica.held(), replica.snapshot(NAMESPACE)]).toEqual([[], undefined]);
  await vi.waitFor(async () => expect(await entryCount()).toBe(0), WAIT);
});

test("LmdbReplica: a dropped namespace is gone at once, its neighbour is not", async () => {
  const many = Array.from({ length: LIMITS.replicaDropRowsMax + 1 }, (_, index) =>
    put(`k${index}`, "x"),
  );
  await storeSnapshot(NAMESPACE, 1, [many]);
  await storeSnapshot(OTHER, 1, [[put("k1", "other")]]);
  const dropped = replica.store(NAMESPACE, { kind: "drop" });
  expect(replica.revision(NAMESPACE)).toBeUndefined();
  await dropped;
  expect([textOf("k1", OTHER), replica.held()]).toEqual(["other", [OTHER]]);
  await storeSnapshot(NAMESPACE, 2, [[put("k2", "again")]]);
  expect([textOf("k1"), textOf("k2")]).toEqual([undefined, "again"]);
});

test("LmdbReplica: a drop is the last word on all that was handed over before it", async () => {
  await storeSnapshot(NAMESPACE, 1, [[put("k", "1")]]);
  const settled = await Promise.allSettled([
    storeBatch(1, [put("k", "2")]),
    storeSnapshot(NAMESPACE, 9, [[put("k", "9")]]),
    replica.store(NAMESPACE, { kind: "drop" }),
  ]);
  expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled"]);
  expect([replica.revision(NAMESPACE), replica.held()]).toEqual([undefined, []]);
  expect(() => replica.get(NAMESPACE, "k")).toThrowError(
    expect.objectContaining({ code: "replica_behind" }),
  );
  await replica.close();
  replica = await open();
  expect(replica.held()).toEqual([]);
});

test("LmdbReplica: what is handed over after a drop is kept, whatever was under way before it", async () => {
  await storeSnapshot(NAMESPACE, 1, [[put("old", "1")]]);
  await Promise.all([
    storeBatch(1, [put("old", "2")]),
    storeSnapshot(NAMESPACE, 5, [[put("old", "5")]]),
    replica.store(NAMESPACE, { kind: "drop" }),
    storeSnapshot(NAMESPACE, 7, [[put("new", "7")]]),
    storeBatch(7, [put("next", "8")]),
  ]);
  const seen = (): unknown => [textOf("old"), textOf("new"), textOf("next")];
  expect([seen(), replica.revision(NAMESPACE)]).toEqual([[undefined, "7", "8"], 8]);
  await replica.close();
  replica = await open();
  expect([seen(), replica.revision(NAMESPACE)]).toEqual([[undefined, "7", "8"], 8]);
});

test("LmdbReplica: what a dropped namespace took on disk is given back", async () => {
  await storeSnapshot(NAMESPACE, 1, [[put("a", "1")]]);
  await storeSnapshot(OTHER, 1, [[put("b", "1")]]);
  await Promise.all([
    storeSnapshot(NAMESPACE, 2, [[put("a", "2")], [put("c", "2")]]),
    replica.store(NAMESPACE, { kind: "drop" }),
  ]);
  await vi.waitFor(async () => expect(await entryCount()).toBe(1), WAIT);
});

test("LmdbReplica: an entry is there until its second begins, and never again", async () => {
  const expiresAt = Math.floor(clock.nowMs() / 1_000) + 60;
  await storeSnapshot(NAMESPACE, 1, [[put("k", "1", expiresAt)]]);
  clock.advance(expiresAt * 1_000 - clock.nowMs() - 1);
  expect(textOf("k")).toBe("1");
  expect(replica.list(NAMESPACE, { prefix: "", limit: 10 }).entries).toEqual([
    { key: "k", expiresAt },
  ]);
  clock.advance(1);
  expect(textOf("k")).toBeUndefined();
  expect(replica.list(NAMESPACE, { prefix: "", limit: 10 }).entries).toEqual([]);
});

test("LmdbReplica: what has expired is not back after another start, whatever the clocks say", async () => {
  const expiresAt = Math.floor(clock.nowMs() / 1_000) + 60;
  await storeSnapshot(NAMESPACE, 1, [
    [put("k", "1", expiresAt), put("later", "1", expiresAt + 60)],
  ]);
  clock.advance(60_000);
  expect(textOf("k")).toBeUndefined();
  await replica.close();
  clock.stepWall(-3_600_000);
  replica = await open();
  expect([textOf("k"), textOf("later")]).toEqual([undefined, "1"]);
  // It goes on from where it was, also without anybody to tell the time.
  clock.advance(60_000);
  expect(textOf("later")).toBeUndefined();
});

test("LmdbReplica: time goes on over a restart from its last second, also when nothing expired in it", async () => {
  clock.advance(10_000);
  const reachedMs = replica.originNowMs() ?? 0;
  await replica.close();
  clock.advance(60_000);
  replica = await open();
  expect(reachedMs - (replica.originNowMs() ?? 0)).toBeLessThan(LIMITS.originTimeSaveMs + 1_000);
});

test("LmdbReplica: each entry has the revision of its write, from pages and from batches", async () => {
  const revisionOf = (key: string): number | undefined => replica.get(NAMESPACE, key)?.revision;
  const operations = [put("a", "1"), put("b", "1"), put("old", "1")];
  const point = new TrackedState(7).take(operations);
  const revisions = [5, 7, 0].map((each) => Revision.parse(each));
  const page = { after: null, through: Key.parse("old"), operations, revisions };
  await replica.store(NAMESPACE, { kind: "snapshot-start", ...point });
  await replica.store(NAMESPACE, { kind: "snapshot-page", ...page });
  await replica.store(NAMESPACE, { kind: "snapshot-end", ...point, through: page.through });
  expect(["a", "b", "old"].map(revisionOf)).toEqual([5, 7, undefined]);
  state = new TrackedState(7);
  state.take(operations);
  await storeBatch(7, [put("c", "1"), put("a", "2"), put("c", "2")]);
  expect(["a", "b", "c"].map(revisionOf)).toEqual([9, 7, 10]);
  await replica.close();
  replica = await open();
  expect(["a", "b", "c"].map(revisionOf)).toEqual([9, 7, 10]);
});

test("LmdbReplica: a listing goes by UTF-8 byte order through all pages", async () => {
  const keys = ["a", "z", "é", "\ufffd", "\u{10000}"];
  await storeSnapshot(NAMESPACE, 1, [keys.toReversed().map((key) => put(key, ""))]);
  const listed: string[] = [];
  let cursor: string | undefined;
  do {
    const options = { prefix: "", limit: 2, ...(cursor === undefined ? {} : { cursor }) };
    const page = replica.list(NAMESPACE, options);
    listed.push(...page.entries.map(({ key }) => key));
    ({ cursor } = page);
  } while (cursor !== undefined);
  expect(listed).toEqual(keys);
});

test("LmdbReplica: a long run of expired entries ends a page early, with a cursor", async () => {
  const expiresAt = Math.floor(clock.nowMs() / 1_000);
  const expired = Array.from({ length: LIMITS.listScanRowsMax + 1 }, (_, index) =>
    put(`expired/${index}`, "", expiresAt),
  );
  await storeSnapshot(NAMESPACE, 1, [[...expired, put("live", "")]]);
  const first = replica.list(NAMESPACE, { prefix: "", limit: 10 });
  expect(first.entries).toEqual([]);
  const { cursor = "" } = first;
  const second = replica.list(NAMESPACE, { prefix: "", limit: 10, cursor });
  expect(second).toEqual({ entries: [{ key: "live" }] });
});

test("LmdbReplica: after close every call says so, and close may come twice", async () => {
  await replica.close();
  await replica.close();
  expect(() => replica.get(NAMESPACE, "k")).toThrowError(
    expect.objectContaining({ code: "closed" }),
  );
  await expect(replica.store(NAMESPACE, { kind: "drop" })).rejects.toMatchObject({
    code: "closed",
  });
});

/** Changes the files behind the replica's back, as a disk does that loses bits. */
async function editRecords(
  edit: (record: Buffer, key: string) => Buffer | undefined,
): Promise<void> {
  await replica.close();
  const root = openLmdb({ path: directory, noSubdir: false });
  const entries = root.openDB<Buffer, Buffer>({
    name: "entries",
    keyEncoding: "binary",
    encoding: "binary",
  });
  for (const { key, value } of [...entries.getRange()]) {
    const edited = edit(Buffer.from(value), key.toString("utf8", 4));
    if (edited === undefined) await entries.remove(key);
    else await entries.put(key, edited);
  }
  await root.close();
  replica = await open();
}

function flipLastBit(record: Buffer): Buffer {
  record[record.length - 1] = (record.at(-1) ?? 0) ^ 1;
  return record;
}

/** Lets the check go on until it has come to an end, and returns what it found. */
async function damageFound(): Promise<ReadonlyArray<NamespaceId>> {
  const found: NamespaceId[] = [];
  const stop = replica.onDamage((namespace) => found.push(namespace));
  for (let tick = 0; tick < 50; tick += 1) {
    clock.advance(LIMITS.contentCheckTickMs);
    // One transaction behind each slice that the tick began.
    await replica.store(OTHER, { kind: "drop" });
  }
  stop();
  return found;
}

test.each([
  ["has another bit", flipLastBit],
  ["is cut short", (record: Buffer) => record.subarray(0, -1)],
  ["is empty", () => Buffer.alloc(0)],
])("LmdbReplica: a record that %s is never read, and told of", async (_what, damage) => {
  await storeSnapshot(NAMESPACE, 1, [[put("a", "1"), put("b", "2")]]);
  await editRecords((record, key) => (key === "a" ? damage(record) : record));
  const found: NamespaceId[] = [];
  replica.onDamage((namespace) => found.push(namespace));
  const damaged = expect.objectContaining({ code: "replica_damaged", retryable: true });
  expect(() => replica.get(NAMESPACE, "a")).toThrowError(damaged);
  expect(() => replica.list(NAMESPACE, { prefix: "", limit: 10 })).toThrowError(damaged);
  expect(textOf("b")).toBe("2");
  expect(found).toEqual([NAMESPACE, NAMESPACE]);
});

test("LmdbReplica: a record under another key than its own is not read", async () => {
  await storeSnapshot(NAMESPACE, 1, [[put("a", "1"), put("b", "2")]]);
  const records = new Map<string, Buffer>();
  await editRecords((record, key) => {
    records.set(key, record);
    return record;
  });
  await editRecords((record, key) => (key === "a" ? records.get("b") : record));
  expect(() => replica.get(NAMESPACE, "a")).toThrowError(
    expect.objectContaining({ code: "replica_damaged" }),
  );
});

test.each([
  ["lost", () => undefined],
  ["changed", flipLastBit],
])(
  "LmdbReplica: the check finds that an entry which nobody reads was %s",
  async (_what, damage) => {
    const count = 3 * LIMITS.contentCheckRowsMax;
    const many = Array.from({ length: count }, (_, index) => put(`k${index}`, "x"));
    await storeSnapshot(NAMESPACE, 1, [many]);
    expect(await damageFound()).toEqual([]);
    await editRecords((record, key) => (key === "k500" ? damage(record) : record));
    expect(await damageFound()).toEqual([NAMESPACE]);
  },
);

test("LmdbReplica: the check goes by what batches change meanwhile", async () => {
  const count = 3 * LIMITS.contentCheckRowsMax;
  const keys = Array.from({ length: count }, (_, index) => `k${String(index).padStart(4, "0")}`);
  await storeSnapshot(NAMESPACE, 1, [keys.map((key) => put(key, "x"))]);
  const found: NamespaceId[] = [];
  replica.onDamage((namespace) => found.push(namespace));
  let revision = 1;
  for (let round = 0; round < 8; round += 1) {
    clock.advance(LIMITS.contentCheckTickMs);
    const key = Key.parse(keys[(round * 307) % count] ?? "");
    const batch: KvOperation[] = [
      put(`${key}/new`, String(round)),
      put(key, String(round)),
      put(key, "again"),
      { kind: "delete", key: Key.parse(keys[round] ?? "") },
    ];
    await storeBatch(revision, batch);
    revision += batch.length;
  }
  expect(found).toEqual([]);
  expect(await damageFound()).toEqual([]);
});

test("LmdbReplica: a check that a failed batch has misled begins anew", async () => {
  const many = Array.from({ length: 2 * LIMITS.contentCheckRowsMax }, (_, index) =>
    put(`k${index}`, "x"),
  );
  await storeSnapshot(NAMESPACE, 1, [many]);
  clock.advance(LIMITS.contentCheckTickMs);
  const point = { revision: Revision.parse(2), digest: state.point.digest };
  const batch = {
    kind: "batch",
    after: Revision.parse(1),
    ...point,
    operations: [put("k0", "y")],
  } as const;
  await expect(replica.store(NAMESPACE, batch)).rejects.toMatchObject({ code: "replica_damaged" });
  expect(await damageFound()).toEqual([]);
});

test("LmdbReplica: a batch that leads to another state than it promises changes nothing", async () => {
  await storeSnapshot(NAMESPACE, 1, [[put("k", "1")]]);
  const revision = Revision.parse(2);
  const { digest } = new TrackedState().take([put("k", "2")]);
  const batch = { kind: "batch", after: Revision.parse(1), revision, digest } as const;
  for (const operations of [[put("k", "x")], [put("other", "2")]]) {
    await expect(replica.store(NAMESPACE, { ...batch, operations })).rejects.toMatchObject({
      code: "replica_damaged",
    });
  }
  expect([textOf("k"), textOf("other"), replica.revision(NAMESPACE)]).toEqual(["1", undefined, 1]);
  await replica.store(NAMESPACE, { ...batch, operations: [put("k", "2")] });
  expect(replica.point(NAMESPACE)).toEqual({ revision, digest });
});

test.each([
  ["whose end is of another state", () => undefined],
  ["of which the disk has changed a record", flipLastBit],
])("LmdbReplica: a snapshot %s is refused and forgotten", async (_what, damage) => {
  await storeSnapshot(NAMESPACE, 1, [[put("k", "1")]]);
  for (const action of snapshotActions(9, [[put("k", "9")]]).slice(0, -1)) {
    await replica.store(NAMESPACE, action);
  }
  await editRecords((record) => (record.includes("9") ? damage(record) : record));
  const { digest } = new TrackedState().take([put("k", "8")]);
  const end: StoreAction = { kind: "snapshot-end", ...NINE, digest, through: Key.parse("k") };
  const batch = { after: Revision.parse(9), revision: Revision.parse(10), digest };
  const replacing = [put("k", "10")];
  const change: StoreAction =
    damage === flipLastBit ? { kind: "snapshot-batch", ...batch, operations: replacing } : end;
  await expect(replica.store(NAMESPACE, change)).rejects.toMatchObject({ code: "replica_damaged" });
  expect([textOf("k"), replica.revision(NAMESPACE)]).toEqual(["1", 1]);
  expect(replica.snapshot(NAMESPACE)).toBeUndefined();
  await storeSnapshot(NAMESPACE, 9, [[put("k", "9")]]);
  expect(textOf("k")).toBe("9");
});

test("LmdbReplica: what an earlier version stored in another form is as good as nothing", async () => {
  await replica.close();
  const root = openLmdb({ path: directory, noSubdir: false });
  await root.openDB({ name: "namespaces", encoding: "json" }).put(NAMESPACE, {
    held: { slot: 1, revision: 4 },
  });
  await root.close();
  replica = await open();
  expect([replica.held(), replica.point(NAMESPACE)]).toEqual([[], undefined]);
  await storeSnapshot(NAMESPACE, 5, [[put("k", "new")]]);
  expect(textOf("k")).toBe("new");
});
