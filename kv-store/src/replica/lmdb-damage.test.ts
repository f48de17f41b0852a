import { open as openLmdb } from "lmdb";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Key, type KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { Revision, type NamespaceId } from "../names.ts";
import {
  NAMESPACE,
  OTHER,
  putText,
  ReplicaBench,
  snapshotActions,
} from "../test-support/replica-bench.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import type { StoreAction } from "./replica.ts";

const NINE = new TrackedState(9).take([putText("j", "9")]);

let bench: ReplicaBench;
beforeEach(async () => {
  bench = await ReplicaBench.open();
});
afterEach(() => bench.close());

/** Changes the files behind the replica's back, as a disk does that loses bits. */
async function editRecords(
  edit: (record: Buffer, key: string) => Buffer | undefined,
): Promise<void> {
  await bench.reopen(async () => {
    const root = openLmdb({ path: bench.directory, noSubdir: false });
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
  });
}

function flipLastBit(record: Buffer): Buffer {
  record[record.length - 1] = (record.at(-1) ?? 0) ^ 1;
  return record;
}

/** Lets the check go on until it has come to an end, and returns what it found. */
async function damageFound(): Promise<ReadonlyArray<NamespaceId>> {
  const found: NamespaceId[] = [];
  const stop = bench.replica.onDamage((namespace) => found.push(namespace));
  for (let tick = 0; tick < 50; tick += 1) {
    bench.clock.advance(LIMITS.contentCheckTickMs);
    // One transaction behind each slice that the tick began.
    await bench.replica.store(OTHER, { kind: "drop" });
  }
  stop();
  return found;
}

test.each([
  ["has another bit", flipLastBit],
  ["is cut short", (record: Buffer) => record.subarray(0, -1)],
  ["is empty", () => Buffer.alloc(0)],
])("LmdbReplica: a record that %s is never read, and told of", async (_what, damage) => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("a", "1"), putText("b", "2")]]);
  await editRecords((record, key) => (key === "a" ? damage(record) : record));
  const found: NamespaceId[] = [];
  bench.replica.onDamage((namespace) => found.push(namespace));
  const damaged = expect.objectContaining({ code: "replica_damaged", retryable: true });
  expect(() => bench.replica.get(NAMESPACE, "a")).toThrowError(damaged);
  expect(() => bench.replica.list(NAMESPACE, { prefix: "", limit: 10 })).toThrowError(damaged);
  expect(bench.textOf("b")).toBe("2");
  expect(found).toEqual([NAMESPACE, NAMESPACE]);
});

test("LmdbReplica: a record under another key than its own is not read", async () => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("a", "1"), putText("b", "2")]]);
  const records = new Map<string, Buffer>();
  await editRecords((record, key) => {
    records.set(key, record);
    return record;
  });
  await editRecords((record, key) => (key === "a" ? records.get("b") : record));
  expect(() => bench.replica.get(NAMESPACE, "a")).toThrowError(
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
    const many = Array.from({ length: count }, (_, index) => putText(`k${index}`, "x"));
    await bench.storeSnapshot(NAMESPACE, 1, [many]);
    expect(await damageFound()).toEqual([]);
    await editRecords((record, key) => (key === "k500" ? damage(record) : record));
    expect(await damageFound()).toEqual([NAMESPACE]);
  },
);

test("LmdbReplica: the check goes by what batches change meanwhile", async () => {
  const count = 3 * LIMITS.contentCheckRowsMax;
  const keys = Array.from({ length: count }, (_, index) => `k${String(index).padStart(4, "0")}`);
  await bench.storeSnapshot(NAMESPACE, 1, [keys.map((key) => putText(key, "x"))]);
  const found: NamespaceId[] = [];
  bench.replica.onDamage((namespace) => found.push(namespace));
  let revision = 1;
  for (let round = 0; round < 8; round += 1) {
    bench.clock.advance(LIMITS.contentCheckTickMs);
    const key = Key.parse(keys[(round * 307) % count] ?? "");
    const batch: KvOperation[] = [
      putText(`${key}/new`, String(round)),
      putText(key, String(round)),
      putText(key, "again"),
      { kind: "delete", key: Key.parse(keys[round] ?? "") },
    ];
    await bench.storeBatch(revision, batch);
    revision += batch.length;
  }
  expect(found).toEqual([]);
  expect(await damageFound()).toEqual([]);
});

test("LmdbReplica: a check that a failed batch has misled begins anew", async () => {
  const many = Array.from({ length: 2 * LIMITS.contentCheckRowsMax }, (_, index) =>
    putText(`k${index}`, "x"),
  );
  await bench.storeSnapshot(NAMESPACE, 1, [many]);
  bench.clock.advance(LIMITS.contentCheckTickMs);
  const point = { revision: Revision.parse(2), digest: bench.state.point.digest };
  const batch = {
    kind: "batch",
    after: Revision.parse(1),
    ...point,
    operations: [putText("k0", "y")],
  } as const;
  await expect(bench.replica.store(NAMESPACE, batch)).rejects.toMatchObject({
    code: "replica_damaged",
  });
  expect(await damageFound()).toEqual([]);
});

test("LmdbReplica: a batch that leads to another state than it promises changes nothing", async () => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("k", "1")]]);
  const revision = Revision.parse(2);
  const { digest } = new TrackedState().take([putText("k", "2")]);
  const batch = { kind: "batch", after: Revision.parse(1), revision, digest } as const;
  for (const operations of [[putText("k", "x")], [putText("other", "2")]]) {
    await expect(bench.replica.store(NAMESPACE, { ...batch, operations })).rejects.toMatchObject({
      code: "replica_damaged",
    });
  }
  expect([bench.textOf("k"), bench.textOf("other"), bench.replica.revision(NAMESPACE)]).toEqual([
    "1",
    undefined,
    1,
  ]);
  await bench.replica.store(NAMESPACE, { ...batch, operations: [putText("k", "2")] });
  expect(bench.replica.point(NAMESPACE)).toEqual({ revision, digest });
});

test.each([
  ["whose end is of another state", () => undefined],
  ["of which the disk has changed a record", flipLastBit],
])("LmdbReplica: a snapshot %s is refused and forgotten", async (_what, damage) => {
  await bench.storeSnapshot(NAMESPACE, 1, [[putText("k", "1")]]);
  for (const action of snapshotActions(9, [[putText("k", "9")]]).slice(0, -1)) {
    await bench.replica.store(NAMESPACE, action);
  }
  await editRecords((record) => (record.includes("9") ? damage(record) : record));
  const { digest } = new TrackedState().take([putText("k", "8")]);
  const end: StoreAction = { kind: "snapshot-end", ...NINE, digest, through: Key.parse("k") };
  const batch = { after: Revision.parse(9), revision: Revision.parse(10), digest };
  const replacing = [putText("k", "10")];
  const change: StoreAction =
    damage === flipLastBit ? { kind: "snapshot-batch", ...batch, operations: replacing } : end;
  await expect(bench.replica.store(NAMESPACE, change)).rejects.toMatchObject({
    code: "replica_damaged",
  });
  expect([bench.textOf("k"), bench.replica.revision(NAMESPACE)]).toEqual(["1", 1]);
  expect(bench.replica.snapshot(NAMESPACE)).toBeUndefined();
  await bench.storeSnapshot(NAMESPACE, 9, [[putText("k", "9")]]);
  expect(bench.textOf("k")).toBe("9");
});

test("LmdbReplica: what an earlier version stored in another form is as good as nothing", async () => {
  await bench.reopen(async () => {
    const root = openLmdb({ path: bench.directory, noSubdir: false });
    await root.openDB({ name: "namespaces", encoding: "json" }).put(NAMESPACE, {
      held: { slot: 1, revision: 4 },
    });
    await root.close();
  });
  expect([bench.replica.held(), bench.replica.point(NAMESPACE)]).toEqual([[], undefined]);
  await bench.storeSnapshot(NAMESPACE, 5, [[putText("k", "new")]]);
  expect(bench.textOf("k")).toBe("new");
});
