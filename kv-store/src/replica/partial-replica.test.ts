import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { open as openLmdb } from "lmdb";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Key, type HeldEntry, type KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { LmdbReplica } from "./lmdb-replica.ts";
import { withoutValue } from "./partial-entry.ts";
import type { FetchedValue } from "./slot-entries.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const SMALL = LIMITS.absentValueBytesMin - 1;

let directory: string;
let clock: ManualClock;
let replica: LmdbReplica;
let state: TrackedState;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll.partial-"));
  clock = new ManualClock();
  replica = await open();
  state = new TrackedState();
});
afterEach(async () => {
  await replica.close();
  await rm(directory, { recursive: true });
});

function open(): Promise<LmdbReplica> {
  return LmdbReplica.open({ directory, clock, log: new RecordedLog() });
}

function put(key: string, bytes: number, fill = 7): KvOperation {
  const value = { kind: "inline", bytes: Buffer.alloc(bytes, fill) } as const;
  return { kind: "put", key: Key.parse(key), value, metadata: `{"of":"${key}"}` };
}

/** Stores a whole snapshot of these. */
async function hold(operations: ReadonlyArray<KvOperation>): Promise<void> {
  const point = state.take(operations);
  await replica.store(NAMESPACE, { kind: "snapshot-start", ...point });
  const through = operations.at(-1)?.key ?? null;
  if (through !== null) {
    const revisions = operations.map(() => Revision.parse(1));
    const page = { kind: "snapshot-page", after: null, through } as const;
    await replica.store(NAMESPACE, { ...page, operations, revisions });
  }
  await replica.store(NAMESPACE, { kind: "snapshot-end", ...point, through });
}

async function write(operations: ReadonlyArray<KvOperation>): Promise<void> {
  const after = state.point.revision;
  const point = state.apply(operations);
  await replica.store(NAMESPACE, { kind: "batch", after, ...point, operations });
}

async function strip(): Promise<void> {
  await replica.setPartial(NAMESPACE, true);
  while (await replica.strip(NAMESPACE));
}

function kindOf(key: string): string | undefined {
  return replica.get(NAMESPACE, key)?.value.kind;
}

function absent(key: string): FetchedValue {
  const entry = replica.get(NAMESPACE, key);
  if (entry?.value.kind !== "absent") throw new Error(`the value of ${key} is here`);
  return { key: entry.key, digest: entry.value.digest, content: Buffer.alloc(entry.value.size, 7) };
}

function listed(): ReadonlyArray<Omit<HeldEntry, "value">> {
  return replica.list(NAMESPACE, { prefix: "", limit: LIMITS.listKeysMax }).entries;
}

/** Reads all of it through and compares its digest; the damage that was found. */
async function check(): Promise<ReadonlyArray<string>> {
  const found: string[] = [];
  const stop = replica.onDamage((_namespace, what) => found.push(what));
  for (let tick = 0; tick < 20; tick += 1) {
    clock.advance(LIMITS.contentCheckMs / 2);
    await replica.setPartial(NAMESPACE, replica.extent(NAMESPACE).isPartial);
  }
  stop();
  return found;
}

test("partial replica: keys, metadata and small values stay, and the digest with them", async () => {
  await hold([put("large", 5_000), put("middle", SMALL + 1), put("small", SMALL)]);
  const before = listed();
  const whole = replica.extent(NAMESPACE);
  expect(whole).toMatchObject({ isPartial: false, absentBytes: 0 });
  await strip();
  expect(["large", "middle", "small"].map(kindOf)).toEqual(["absent", "absent", "inline"]);
  expect(listed()).toEqual(before);
  expect(replica.get(NAMESPACE, "large")).toMatchObject({
    metadata: '{"of":"large"}',
    value: { size: 5_000 },
  });
  const { bytes, absentBytes, removableBytes } = replica.extent(NAMESPACE);
  expect([bytes + absentBytes, removableBytes]).toEqual([whole.bytes, 0]);
  expect(await check()).toEqual([]);
});

test("partial replica: follows the stream without its values, to the same digest", async () => {
  await hold([put("a", 1_000), put("b", 1_000)]);
  await strip();
  await write([put("a", 2_000), put("c", SMALL), put("d", 3_000)]);
  await write([{ kind: "delete", key: Key.parse("b") }, put("d", 3_000, 9)]);
  expect(replica.point(NAMESPACE)).toEqual(state.point);
  expect(["a", "b", "c", "d"].map(kindOf)).toEqual(["absent", undefined, "inline", "absent"]);
  expect(await check()).toEqual([]);
});

test("partial replica: a snapshot with references is the same as one with values", async () => {
  await hold([]);
  await replica.setPartial(NAMESPACE, true);
  const operations = [put("a", 1_000), put("b", 20), put("c", 2_000)];
  const point = state.apply(operations);
  const through = Key.parse("c");
  await replica.store(NAMESPACE, { kind: "snapshot-start", ...point });
  const page = { kind: "snapshot-page", after: null, through } as const;
  const revisions = [1, 2, 3].map((revision) => Revision.parse(revision));
  await replica.store(NAMESPACE, { ...page, operations: operations.map(withoutValue), revisions });
  await replica.store(NAMESPACE, { kind: "snapshot-end", ...point, through });
  expect(["a", "b", "c"].map(kindOf)).toEqual(["absent", "inline", "absent"]);
  expect(replica.extent(NAMESPACE)).toMatchObject({ isPartial: true, removableBytes: 0 });
});

test("partial replica: one that is whole again takes values back, and counts the same as ever", async () => {
  await hold([put("a", 1_000), put("b", 5_000)]);
  const whole = replica.extent(NAMESPACE);
  await strip();
  await replica.setPartial(NAMESPACE, false);
  expect(replica.absentValues(NAMESPACE, undefined).entries.map(({ key }) => key)).toEqual([
    "a",
    "b",
  ]);
  await replica.fill(NAMESPACE, [absent("a"), absent("b")]);
  expect(["a", "b"].map(kindOf)).toEqual(["inline", "inline"]);
  expect(replica.extent(NAMESPACE)).toEqual(whole);
  expect(await check()).toEqual([]);
});

test.each([
  ["was overwritten", [put("k", 1_000, 8)], "inline"],
  ["was deleted", [{ kind: "delete", key: Key.parse("k") } as const], undefined],
  ["has other metadata", [{ ...put("k", 1_000), metadata: "1" } as KvOperation], "inline"],
])(
  "partial replica: a value of a key that %s meanwhile is not put back",
  async (_how, writes, kind) => {
    await hold([put("k", 1_000)]);
    await strip();
    const fetched = absent("k");
    await replica.setPartial(NAMESPACE, false);
    await write(writes);
    const before = replica.get(NAMESPACE, "k");
    await replica.fill(NAMESPACE, [fetched]);
    expect(replica.get(NAMESPACE, "k")).toEqual(before);
    expect(kindOf("k")).toBe(kind);
  },
);

test("partial replica: content that is not the entry's is not put back", async () => {
  await hold([put("k", 1_000)]);
  await strip();
  await replica.setPartial(NAMESPACE, false);
  await replica.fill(NAMESPACE, [{ ...absent("k"), content: Buffer.alloc(1_000, 6) }]);
  expect(kindOf("k")).toBe("absent");
});

test("partial replica: values come back to a partial namespace only once it is whole again", async () => {
  await hold([put("k", 1_000)]);
  await strip();
  await replica.fill(NAMESPACE, [absent("k")]);
  expect(kindOf("k")).toBe("absent");
});

test("partial replica: stays partial over a restart, and goes on with what is left to remove", async () => {
  const count = 2 * LIMITS.replicaStripRowsMax + 10;
  await hold(Array.from({ length: count }, (_, index) => put(`k${1e6 + index}`, 200)));
  await replica.setPartial(NAMESPACE, true);
  expect(await replica.strip(NAMESPACE)).toBe(true);
  const half = replica.extent(NAMESPACE);
  expect(half.removableBytes).toBeGreaterThan(0);
  await replica.close();
  replica = await open();
  expect(replica.extent(NAMESPACE)).toEqual(half);
  while (await replica.strip(NAMESPACE));
  expect(replica.extent(NAMESPACE)).toMatchObject({ isPartial: true, removableBytes: 0 });
  expect(replica.absentValues(NAMESPACE, undefined).entries).toHaveLength(
    LIMITS.replicaFillRowsMax,
  );
  expect(await check()).toEqual([]);
});

test("partial replica: what an earlier version did not count is counted at the start", async () => {
  await hold([put("a", 1_000), put("b", 50)]);
  const counted = replica.extent(NAMESPACE);
  await replica.close();
  const root = openLmdb({ path: directory, noSubdir: false });
  const namespaces = root.openDB<{ held: Record<string, unknown> }, string>({
    name: "namespaces",
    encoding: "json",
  });
  const { held } = namespaces.get(NAMESPACE) ?? { held: {} };
  const { size: _, ...uncounted } = held;
  await namespaces.put(NAMESPACE, { held: uncounted });
  await root.close();
  replica = await open();
  expect(replica.extent(NAMESPACE)).toEqual(counted);
});

test("partial replica: a namespace that is dropped and comes back is whole", async () => {
  await hold([put("a", 1_000)]);
  await strip();
  await replica.store(NAMESPACE, { kind: "drop" });
  expect(replica.extent(NAMESPACE)).toMatchObject({ isPartial: false, bytes: 0 });
  state = new TrackedState();
  await hold([put("a", 1_000)]);
  expect(kindOf("a")).toBe("inline");
});

test.each([300, 1_500, 3_000, 20_000])(
  "partial replica: what values of %i bytes are said to take is about what the disk has",
  async (valueBytes) => {
    const empty = (await stat(join(directory, "data.mdb"))).size;
    const count = Math.ceil(4_000_000 / valueBytes);
    await hold([]);
    // In no order, as keys of workers come.
    const keys = Array.from({ length: count }, (_, index) => `user/${(index * 7_919) % 1_000_003}`);
    // In one transaction: LMDB's file also has the pages that others have freed, for the next ones.
    await write(keys.map((key) => put(key, valueBytes)));
    const onDisk = (await stat(join(directory, "data.mdb"))).size - empty;
    const { bytes } = replica.extent(NAMESPACE);
    expect(bytes / onDisk).toBeGreaterThan(0.6);
    expect(bytes / onDisk).toBeLessThan(1.5);
  },
);
