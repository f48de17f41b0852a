import { afterEach, beforeEach, expect, test } from "vitest";
import { Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { connectedChannels } from "../test-support/memory-channel.ts";
import {
  NAMESPACE,
  putText,
  ReplicatedStore,
  STORED_HASH,
  textOf,
  writeIf,
} from "../test-support/replicated-store.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { encodeWrite } from "./batch.ts";

const EMPTY_WRITE = {
  kind: "write",
  id: 1,
  namespace: NAMESPACE,
  count: 1,
  body: new Uint8Array(),
  checksum: 0,
};

let store: ReplicatedStore;
beforeEach(async () => {
  store = await ReplicatedStore.open();
});
afterEach(() => store.close());

test("replication: a write is visible at once where it was made, and soon everywhere", async () => {
  const [fra, iad] = [await store.startConnectedNode("fra"), await store.startConnectedNode("iad")];
  expect(await fra.client.write(NAMESPACE, [putText("greeting", "hello")])).toBe(1);
  expect(textOf(fra, "greeting")).toBe("hello");
  await waitFor(() => expect(textOf(iad, "greeting")).toBe("hello"));
});

test("replication: a node that was away catches up from the log", async () => {
  const node = await store.startConnectedNode("fra");
  const { node: channel } = store.connect(node);
  await node.client.write(NAMESPACE, [putText("a", "1")]);
  channel.close();
  await store.origin.write(NAMESPACE, [putText("a", "2"), putText("b", "3")]);
  expect(textOf(node, "a")).toBe("1");
  store.connect(node);
  await waitFor(() => expect(node.replica.revision(NAMESPACE)).toBe(3));
  expect([textOf(node, "a"), textOf(node, "b")]).toEqual(["2", "3"]);
});

test("replication: of nodes that write for the same revision of a key one wins, and the others hear which there is", async () => {
  const nodes = await Promise.all(
    ["fra", "iad", "nrt"].map((name) => store.startConnectedNode(name)),
  );
  for (let round = 0; round < 5; round += 1) {
    const outcomes = await Promise.allSettled(
      nodes.map((node, number) => writeIf(node, "k", round, `${round}/${number}`)),
    );
    const winner = outcomes.findIndex(({ status }) => status === "fulfilled");
    const refusal = { code: "precondition_failed", found: round + 1, retryable: false };
    expect(outcomes[winner]).toMatchObject({ value: round + 1 });
    expect(outcomes.filter(({ status }) => status === "rejected")).toMatchObject([
      { reason: refusal },
      { reason: refusal },
    ]);
    for (const node of nodes) {
      await waitFor(() => expect(textOf(node, "k")).toBe(`${round}/${winner}`));
      expect(node.replica.get(NAMESPACE, "k")?.revision).toBe(round + 1);
    }
  }
});

test("replication: without a connection a write fails at once and says so", async () => {
  const node = await store.startNode("fra");
  await expect(node.client.write(NAMESPACE, [putText("a", "1")])).rejects.toMatchObject({
    code: "origin_unreachable",
    retryable: true,
  });
});

test("replication: a write through a connection gone silent fails within its bound", async () => {
  const node = await store.startConnectedNode("fra");
  const { origin: channel } = store.connect(node);
  channel.isSilent = true;
  const startMs = Date.now();
  await expect(node.client.write(NAMESPACE, [putText("a", "1")])).rejects.toMatchObject({
    code: "origin_unreachable",
  });
  expect(Date.now() - startMs).toBeLessThan(
    LIMITS.originSilenceMs + 2 * LIMITS.heartbeatMs + 1_000,
  );
});

test("replication: a large value is refused unless its content was stored before", async () => {
  const node = await store.startConnectedNode("fra");
  const write = (hash: string): Promise<unknown> => {
    const value = { kind: "blob", hash, size: 100_000 } as const;
    return node.client.write(NAMESPACE, [{ kind: "put", key: Key.parse("large"), value }]);
  };
  expect(await write(STORED_HASH)).toBe(1);
  await expect(write("6".repeat(64))).rejects.toMatchObject({ code: "value_unavailable" });
  expect((await store.origin.point(NAMESPACE)).revision).toBe(1);
});

test("replication: a node learns how fresh it is, and says so per namespace", async () => {
  const node = await store.startNode("fra");
  expect(node.client.status()).toMatchObject([{ namespace: NAMESPACE, revision: 0, lagMs: null }]);
  store.connect(node);
  await node.client.ready(NAMESPACE);
  await node.client.write(NAMESPACE, [putText("a", "1")]);
  await waitFor(() => expect(node.client.status()[0]?.lagMs).not.toBeNull());
  const [status] = node.client.status();
  expect(status).toMatchObject({ namespace: NAMESPACE, revision: 1 });
  expect(status?.lagMs).toBeLessThan(5 * LIMITS.heartbeatMs);
});

test("replication: a namespace that is not wanted for a while leaves the node's disk, and comes back", async () => {
  const node = await store.startConnectedNode("fra");
  await node.client.write(NAMESPACE, [putText("a", "1")]);
  node.client.setInterest([]);
  store.nodeClock.skip(LIMITS.interestGraceMs);
  await waitFor(() => expect(node.replica.held()).toEqual([]));
  expect(node.client.status()).toEqual([]);
  await store.origin.write(NAMESPACE, [putText("b", "2")]);
  // The link was silent for as long as the clock says.
  store.connect(node);
  node.client.setInterest([NAMESPACE]);
  await node.client.ready(NAMESPACE);
  await waitFor(() => expect(textOf(node, "b")).toBe("2"));
  expect(textOf(node, "a")).toBe("1");
});

test("replication: a namespace that is wanted again soon is still there, and was followed meanwhile", async () => {
  const node = await store.startConnectedNode("fra");
  const told: string[] = [];
  const { node: channel } = store.connect(node);
  channel.onArrival = (message) => void told.push((message as { readonly kind: string }).kind);
  await node.client.write(NAMESPACE, [putText("a", "1")]);
  node.client.setInterest([]);
  await store.origin.write(NAMESPACE, [putText("b", "2")]);
  await waitFor(() => expect(textOf(node, "b")).toBe("2"));
  node.client.setInterest([NAMESPACE]);
  store.nodeClock.skip(LIMITS.interestGraceMs);
  store.connect(node);
  await store.origin.write(NAMESPACE, [putText("c", "3")]);
  await waitFor(() => expect(textOf(node, "c")).toBe("3"));
  expect(told).not.toContain("snapshot-start");
  expect(textOf(node, "a")).toBe("1");
});

test("replication: what an earlier run held and this one does not want is dropped", async () => {
  const first = await store.startConnectedNode("fra");
  await first.client.write(NAMESPACE, [putText("a", "1")]);
  await store.stopNodes();
  const second = await store.startNode("fra", []);
  expect(second.replica.held()).toEqual([]);
});

test("replication: a namespace that is deleted is gone from the nodes, and says so", async () => {
  const node = await store.startConnectedNode("fra");
  await node.client.write(NAMESPACE, [putText("a", "1")]);
  await store.origin.deleteNamespace(NAMESPACE);
  await waitFor(() => expect(node.replica.held()).toEqual([]));
  const gone = { code: "namespace_not_found" };
  await expect(node.client.ready(NAMESPACE)).rejects.toMatchObject(gone);
  await expect(node.client.write(NAMESPACE, [putText("a", "2")])).rejects.toMatchObject(gone);
});

test.each([
  ["no message", { kind: "nonsense" }],
  ["nothing", undefined],
  ["a write with a broken body", { ...EMPTY_WRITE, count: 1 }],
  ["a write with a wrong checksum", { ...EMPTY_WRITE, checksum: 1 }],
  [
    "a write with a condition that its checksum does not cover",
    {
      ...EMPTY_WRITE,
      ...encodeWrite([putText("a", "1")]),
      conditions: [{ key: "a", revision: 0 }],
    },
  ],
  [
    "a write with a condition that is none",
    { ...EMPTY_WRITE, conditions: [{ key: "", revision: 0 }] },
  ],
  ["a write of too many keys", { ...EMPTY_WRITE, count: LIMITS.bulkWriteKeysMax + 1 }],
])("replication: a node that sends %s is cut, and the others are not", async (_what, message) => {
  const other = await store.startConnectedNode("iad");
  const { node, origin: end } = connectedChannels();
  store.server.accept(end);
  node.send(message);
  await waitFor(() => expect(node.isClosed).toBe(true));
  expect(await other.client.write(NAMESPACE, [putText("a", "1")])).toBe(1);
});

test("replication: what the origin sends that is no message ends the connection", async () => {
  const { client } = await store.startNode("fra");
  const { node, origin: end } = connectedChannels();
  client.attach(node);
  end.send({ kind: "batch", subscription: 1 });
  await waitFor(() => expect(end.isClosed).toBe(true));
});

test("replication: after close a client rejects everything, what was pending included", async () => {
  const { client } = await store.startNode("fra");
  const ready = Promise.allSettled([client.ready(NAMESPACE)]);
  await client.close();
  await client.close();
  expect(await ready).toMatchObject([{ reason: { code: "closed" } }]);
  await expect(client.write(NAMESPACE, [putText("a", "1")])).rejects.toMatchObject({
    code: "closed",
  });
  const { node } = connectedChannels();
  client.attach(node);
  expect(node.isClosed).toBe(true);
});
