import { afterEach, beforeEach, expect, test } from "vitest";
import { Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import {
  NAMESPACE,
  putText,
  ReplicatedStore,
  textOf,
  writeIf,
  type Node,
} from "../test-support/replicated-store.ts";
import { waitFor } from "../test-support/wait-for.ts";

let store: ReplicatedStore;
beforeEach(async () => {
  store = await ReplicatedStore.open();
});
afterEach(() => store.close());

test("replication: a node behind the log's horizon gets a snapshot, and reads go on meanwhile", async () => {
  const node = await store.startConnectedNode("fra");
  const { node: channel } = store.connect(node);
  await node.client.write(NAMESPACE, [putText("old", "1"), putText("kept", "1")]);
  channel.close();
  store.originClock.skip(LIMITS.logHoldMs);
  const many = Array.from({ length: 1_000 }, (_, index) =>
    putText(`k${index % 2_000}`, `${index}`),
  );
  for (let round = 0; round < LIMITS.logCatchUpRecordsMax / 1_000 + 1; round++) {
    await store.origin.write(NAMESPACE, many);
  }
  await store.origin.write(NAMESPACE, [{ kind: "delete", key: Key.parse("old") }]);
  store.connect(node);
  await waitFor(async () => {
    expect(node.replica.revision(NAMESPACE)).toBe((await store.origin.point(NAMESPACE)).revision);
  });
  expect([textOf(node, "old"), textOf(node, "kept")]).toEqual([undefined, "1"]);
  expect(textOf(node, "k999")).toBe("999");
});

/** What a node is told of snapshots: the kind of each message, and the key behind which a page goes on. */
function snapshotMessage(message: unknown): string | undefined {
  const { kind, after } = message as { readonly kind: string; readonly after?: unknown };
  if (kind === "snapshot-page") return `page behind ${String(after)}`;
  return kind.startsWith("snapshot-") ? kind : undefined;
}

/** A few pages of large values; returns the key behind which each page but the first goes on. */
async function writePages(): Promise<void> {
  const text = "x".repeat(LIMITS.inlineValueBytesMax);
  // Four of them, and a little for the keys, fill a page.
  const keys = Array.from({ length: 18 }, (_, index) => `p${String(index).padStart(2, "0")}`);
  await store.origin.write(
    NAMESPACE,
    keys.map((key) => putText(key, text)),
  );
}

const PAGES = ["null", "p03", "p07", "p11", "p15"].map((after) => `page behind ${after}`);

test("replication: a snapshot that takes longer than the log is kept comes to its end", async () => {
  await writePages();
  const node = await store.startNode("fra");
  const told: string[] = [];
  const { node: channel } = store.connect(node);
  const many = Array.from({ length: LIMITS.logCatchUpRecordsMax / 2 }, () => putText("p17", "new"));
  channel.onArrival = (message) => {
    const what = snapshotMessage(message);
    if (what === undefined) return;
    told.push(what);
    // Each page is overtaken by half of all that the log keeps.
    if (what.startsWith("page")) void store.origin.write(NAMESPACE, many);
  };
  await waitFor(async () => {
    expect(node.replica.revision(NAMESPACE)).toBe(18 + PAGES.length * many.length);
  });
  expect(told).toEqual(["snapshot-start", ...PAGES, "snapshot-end"]);
  expect([textOf(node, "p17"), textOf(node, "p00")?.length]).toEqual([
    "new",
    LIMITS.inlineValueBytesMax,
  ]);
});

test("replication: a snapshot that is cut goes on where it was, also in the next life of the node", async () => {
  await writePages();
  const told: string[] = [];
  const connectUntil = (node: Node, pages: number): void => {
    const { node: channel } = store.connect(node);
    let count = 0;
    channel.onArrival = (message) => {
      const what = snapshotMessage(message);
      if (what === undefined) return;
      count += 1;
      if (count > pages) return channel.close();
      told.push(what);
    };
  };
  const first = await store.startNode("fra");
  connectUntil(first, 3);
  const collected = { revision: 18, after: "p07" };
  await waitFor(() => expect(first.replica.snapshot(NAMESPACE)).toMatchObject(collected));
  // What was copied changes, and so does what was not.
  await store.origin.write(NAMESPACE, [
    putText("p00", "new"),
    { kind: "delete", key: Key.parse("p17") },
  ]);
  await store.stopNodes();
  const second = await store.startNode("fra");
  expect(second.replica.revision(NAMESPACE)).toBeUndefined();
  connectUntil(second, Infinity);
  await waitFor(() => expect(second.replica.revision(NAMESPACE)).toBe(20));
  expect(told).toEqual(["snapshot-start", ...PAGES, "snapshot-end"]);
  expect([textOf(second, "p00"), textOf(second, "p17")]).toEqual(["new", undefined]);
});

test("replication: entries that come with a snapshot have the revisions of their writes", async () => {
  await store.origin.write(NAMESPACE, [putText("a", "1"), putText("b", "1"), putText("a", "2")]);
  const node = await store.startConnectedNode("fra");
  const revisions = ["a", "b"].map((key) => node.replica.get(NAMESPACE, key)?.revision);
  expect(revisions).toEqual([3, 2]);
  expect(await writeIf(node, "b", 2, "2")).toBe(4);
});
