import { copyFile, rm } from "node:fs/promises";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { open as openLmdb } from "lmdb";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  NAMESPACE,
  putText,
  ReplicatedStore,
  textOf,
  type Node,
} from "../test-support/replicated-store.ts";
import { waitFor } from "../test-support/wait-for.ts";

let store: ReplicatedStore;
beforeEach(async () => {
  store = await ReplicatedStore.open();
});
afterEach(() => store.close());

/** Ends the origin and starts one that has only what the file had when it was copied, as after a restore. */
async function restoreOrigin(copy: string): Promise<void> {
  await store.stopOrigin();
  const path = join(store.directory, "kv.sqlite");
  await rm(path);
  await rm(`${path}-wal`, { force: true });
  await copyFile(copy, path);
  store.startOrigin();
}

/** A copy of all that the origin has now. */
async function copyOrigin(): Promise<string> {
  const copy = join(store.directory, "copy.sqlite");
  const database = new SqliteDatabase(join(store.directory, "kv.sqlite"), { readonly: true });
  await database.backup(copy);
  database.close();
  return copy;
}

test.each([
  ["behind", ["z"]],
  ["up to", ["z", "z2"]],
  ["past", ["z", "z2", "z3"]],
])(
  "replication: a replica follows an origin restored from an older copy and written %s it",
  async (_where, written) => {
    const node = await store.startConnectedNode("fra");
    await node.client.write(NAMESPACE, [putText("base", "1"), putText("w", "1")]);
    const copy = await copyOrigin();
    await node.client.write(NAMESPACE, [putText("x", "1"), putText("y", "1")]);
    await restoreOrigin(copy);
    for (const key of written) await store.origin.write(NAMESPACE, [putText(key, "2")]);
    store.connect(node);
    await waitFor(() => expect(textOf(node, "z")).toBe("2"));
    const keys = node.replica.list(NAMESPACE, { prefix: "", limit: 10 }).entries;
    expect(keys.map(({ key }) => key)).toEqual(["base", "w", ...written]);
    expect(node.replica.point(NAMESPACE)).toEqual(await store.origin.point(NAMESPACE));
    await waitFor(() => {
      expect(node.client.status()).toMatchObject([
        { repairing: null, repairs: 1, lastRepair: "other-history" },
      ]);
    });
    expect(store.log.lines).toContainEqual(
      expect.stringContaining("the origin has another history"),
    );
    const revision = await node.client.write(NAMESPACE, [putText("after", "3")]);
    expect([revision, textOf(node, "after")]).toEqual([3 + written.length, "3"]);
  },
);

test("replication: a write right after a restore is there when it is acknowledged", async () => {
  const node = await store.startConnectedNode("fra");
  await node.client.write(NAMESPACE, [putText("base", "1")]);
  const copy = await copyOrigin();
  await node.client.write(NAMESPACE, [putText("x", "1"), putText("y", "1"), putText("z", "1")]);
  await restoreOrigin(copy);
  store.connect(node);
  // Of a revision that the node has long had, in another history.
  expect(await node.client.write(NAMESPACE, [putText("after", "2")])).toBe(2);
  expect([textOf(node, "after"), textOf(node, "x")]).toEqual(["2", undefined]);
});

test("replication: a node that was down while the origin was restored follows it, too", async () => {
  const node = await store.startConnectedNode("fra");
  await node.client.write(NAMESPACE, [putText("base", "1")]);
  const copy = await copyOrigin();
  await node.client.write(NAMESPACE, [putText("x", "1")]);
  await store.stopNodes();
  await restoreOrigin(copy);
  await store.origin.write(NAMESPACE, [putText("z", "2")]);
  const again = await store.startConnectedNode("fra");
  await waitFor(() => expect(textOf(again, "z")).toBe("2"));
  expect(textOf(again, "x")).toBeUndefined();
});

/** Changes the last bit of a key's record on a stopped node's disk. */
async function damageRecord(name: string, key: string): Promise<void> {
  const root = openLmdb({ path: join(store.directory, name), noSubdir: false });
  const binary = { keyEncoding: "binary", encoding: "binary" } as const;
  const entries = root.openDB<Buffer, Buffer>({ name: "entries", ...binary });
  for (const { key: slotAndKey, value } of [...entries.getRange()]) {
    if (slotAndKey.toString("utf8", 4) !== key) continue;
    const record = Buffer.from(value);
    record[record.length - 1] = (record.at(-1) ?? 0) ^ 1;
    await entries.put(slotAndKey, record);
  }
  await root.close();
}

test.each([
  ["a read meets", async (node: Node) => void textOf(node, "a")],
  [
    "a write replaces",
    async (node: Node) => void (await node.client.write(NAMESPACE, [putText("a", "1")])),
  ],
  ["nobody reads", async () => undefined],
])("replication: a damaged record that %s is repaired from the origin", async (_who, touch) => {
  const node = await store.startConnectedNode("fra");
  await node.client.write(NAMESPACE, [putText("a", "1"), putText("b", "2")]);
  await store.stopNodes();
  await damageRecord("fra", "a");
  const again = await store.startConnectedNode("fra");
  await touch(again).catch(() => undefined);
  await waitFor(() => {
    expect(again.client.status()).toMatchObject([
      { repairing: null, repairs: 1, lastRepair: "damaged" },
    ]);
  });
  expect([textOf(again, "a"), textOf(again, "b")]).toEqual(["1", "2"]);
  expect(store.log.lines).toContainEqual(expect.stringContaining("damaged"));
});
