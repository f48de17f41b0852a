import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { open as openLmdb } from "lmdb";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { systemClock } from "../clock.ts";
import { Key, type KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { HurriedClock } from "../test-support/hurried-clock.ts";
import { connectedChannels } from "../test-support/memory-channel.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { encodeWrite } from "./batch.ts";
import { OriginServer } from "./origin-server.ts";
import { ReplicaClient } from "./replica-client.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const STORED_HASH = "5".repeat(64);
const clock = systemClock;

// For conditions that take a heartbeat or two to come true.
const WAIT = { timeout: 10_000, interval: 10 };
const EMPTY_WRITE = {
  kind: "write",
  id: 1,
  namespace: NAMESPACE,
  count: 1,
  body: new Uint8Array(),
  checksum: 0,
};

let directory: string;
let log: RecordedLog;
let originClock: HurriedClock;
let nodeClock: HurriedClock;
let origin: SqliteOrigin;
let server: OriginServer;
const closers: Array<() => Promise<void>> = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-replication-"));
  log = new RecordedLog();
  originClock = new HurriedClock();
  nodeClock = new HurriedClock();
  startOrigin();
  await origin.createNamespace(NAMESPACE);
});

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  server.close();
  await origin.close();
  await rm(directory, { recursive: true });
});

function startOrigin(): void {
  origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock: originClock, log });
  const blobs = { has: async (hash: string) => hash === STORED_HASH, remove: async () => {} };
  server = new OriginServer({ origin, blobs, clock, log });
}

interface Node {
  readonly replica: LmdbReplica;
  readonly client: ReplicaClient;
}

async function startNode(name: string, wanted = [NAMESPACE]): Promise<Node> {
  const replica = await LmdbReplica.open({ directory: join(directory, name), clock, log });
  const client = new ReplicaClient({ replica, clock: nodeClock, log });
  closers.push(
    () => replica.close(),
    () => client.close(),
  );
  client.setInterest(wanted);
  return { replica, client };
}

async function startConnectedNode(name: string): Promise<Node> {
  const node = await startNode(name);
  connect(node);
  await node.client.ready(NAMESPACE);
  return node;
}

function connect({ client }: Node): ReturnType<typeof connectedChannels> {
  const channels = connectedChannels();
  server.accept(channels.origin);
  client.attach(channels.node);
  return channels;
}

function put(key: string, text: string): KvOperation {
  const value = { kind: "inline", bytes: Buffer.from(text) } as const;
  return { kind: "put", key: Key.parse(key), value };
}

function textOf({ replica }: Node, key: string): string | undefined {
  const value = replica.get(NAMESPACE, key)?.value;
  return value?.kind === "inline" ? Buffer.from(value.bytes).toString() : undefined;
}

test("replication: a write is visible at once where it was made, and soon everywhere", async () => {
  const [fra, iad] = [await startConnectedNode("fra"), await startConnectedNode("iad")];
  expect(await fra.client.write(NAMESPACE, [put("greeting", "hello")])).toBe(1);
  expect(textOf(fra, "greeting")).toBe("hello");
  await vi.waitFor(() => expect(textOf(iad, "greeting")).toBe("hello"));
});

test("replication: a node that was away catches up from the log", async () => {
  const node = await startConnectedNode("fra");
  const { node: channel } = connect(node);
  await node.client.write(NAMESPACE, [put("a", "1")]);
  channel.close();
  await origin.write(NAMESPACE, [put("a", "2"), put("b", "3")]);
  expect(textOf(node, "a")).toBe("1");
  connect(node);
  await vi.waitFor(() => expect(node.replica.revision(NAMESPACE)).toBe(3));
  expect([textOf(node, "a"), textOf(node, "b")]).toEqual(["2", "3"]);
});

test("replication: a node behind the log's horizon gets a snapshot, and reads go on meanwhile", async () => {
  const node = await startConnectedNode("fra");
  const { node: channel } = connect(node);
  await node.client.write(NAMESPACE, [put("old", "1"), put("kept", "1")]);
  channel.close();
  originClock.skip(LIMITS.logHoldMs);
  const many = Array.from({ length: 1_000 }, (_, index) => put(`k${index % 2_000}`, `${index}`));
  for (let round = 0; round < LIMITS.logCatchUpRecordsMax / 1_000 + 1; round++) {
    await origin.write(NAMESPACE, many);
  }
  await origin.write(NAMESPACE, [{ kind: "delete", key: Key.parse("old") }]);
  connect(node);
  await vi.waitFor(async () => {
    expect(node.replica.revision(NAMESPACE)).toBe((await origin.point(NAMESPACE)).revision);
  }, WAIT);
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
  await origin.write(
    NAMESPACE,
    keys.map((key) => put(key, text)),
  );
}

const PAGES = ["null", "p03", "p07", "p11", "p15"].map((after) => `page behind ${after}`);

test("replication: a snapshot that takes longer than the log is kept comes to its end", async () => {
  await writePages();
  const node = await startNode("fra");
  const told: string[] = [];
  const { node: channel } = connect(node);
  const many = Array.from({ length: LIMITS.logCatchUpRecordsMax / 2 }, () => put("p17", "new"));
  channel.onArrival = (message) => {
    const what = snapshotMessage(message);
    if (what === undefined) return;
    told.push(what);
    // Each page is overtaken by half of all that the log keeps.
    if (what.startsWith("page")) void origin.write(NAMESPACE, many);
  };
  await vi.waitFor(async () => {
    expect(node.replica.revision(NAMESPACE)).toBe(18 + PAGES.length * many.length);
  }, WAIT);
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
    const { node: channel } = connect(node);
    let count = 0;
    channel.onArrival = (message) => {
      const what = snapshotMessage(message);
      if (what === undefined) return;
      count += 1;
      if (count > pages) return channel.close();
      told.push(what);
    };
  };
  const first = await startNode("fra");
  connectUntil(first, 3);
  const collected = { revision: 18, after: "p07" };
  await vi.waitFor(() => expect(first.replica.snapshot(NAMESPACE)).toMatchObject(collected), WAIT);
  // What was copied changes, and so does what was not.
  await origin.write(NAMESPACE, [put("p00", "new"), { kind: "delete", key: Key.parse("p17") }]);
  for (const close of closers.splice(0).toReversed()) await close();
  const second = await startNode("fra");
  expect(second.replica.revision(NAMESPACE)).toBeUndefined();
  connectUntil(second, Infinity);
  await vi.waitFor(() => expect(second.replica.revision(NAMESPACE)).toBe(20), WAIT);
  expect(told).toEqual(["snapshot-start", ...PAGES, "snapshot-end"]);
  expect([textOf(second, "p00"), textOf(second, "p17")]).toEqual(["new", undefined]);
});

/** Puts the key if it is at this revision. */
function writeIf({ client }: Node, key: string, revision: number, text: string): Promise<Revision> {
  const condition = { key: Key.parse(key), revision: Revision.parse(revision) };
  return client.write(NAMESPACE, [put(key, text)], [condition]);
}

test("replication: of nodes that write for the same revision of a key one wins, and the others hear which there is", async () => {
  const nodes = await Promise.all(["fra", "iad", "nrt"].map(startConnectedNode));
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
      await vi.waitFor(() => expect(textOf(node, "k")).toBe(`${round}/${winner}`), WAIT);
      expect(node.replica.get(NAMESPACE, "k")?.revision).toBe(round + 1);
    }
  }
});

test("replication: entries that come with a snapshot have the revisions of their writes", async () => {
  await origin.write(NAMESPACE, [put("a", "1"), put("b", "1"), put("a", "2")]);
  const node = await startConnectedNode("fra");
  const revisions = ["a", "b"].map((key) => node.replica.get(NAMESPACE, key)?.revision);
  expect(revisions).toEqual([3, 2]);
  expect(await writeIf(node, "b", 2, "2")).toBe(4);
});

test("replication: without a connection a write fails at once and says so", async () => {
  const node = await startNode("fra");
  await expect(node.client.write(NAMESPACE, [put("a", "1")])).rejects.toMatchObject({
    code: "origin_unreachable",
    retryable: true,
  });
});

test("replication: a write through a connection gone silent fails within its bound", async () => {
  const node = await startConnectedNode("fra");
  const { origin: channel } = connect(node);
  channel.isSilent = true;
  const startMs = Date.now();
  await expect(node.client.write(NAMESPACE, [put("a", "1")])).rejects.toMatchObject({
    code: "origin_unreachable",
  });
  expect(Date.now() - startMs).toBeLessThan(
    LIMITS.originSilenceMs + 2 * LIMITS.heartbeatMs + 1_000,
  );
});

test("replication: a large value is refused unless its content was stored before", async () => {
  const node = await startConnectedNode("fra");
  const write = (hash: string): Promise<unknown> => {
    const value = { kind: "blob", hash, size: 100_000 } as const;
    return node.client.write(NAMESPACE, [{ kind: "put", key: Key.parse("large"), value }]);
  };
  expect(await write(STORED_HASH)).toBe(1);
  await expect(write("6".repeat(64))).rejects.toMatchObject({ code: "value_unavailable" });
  expect((await origin.point(NAMESPACE)).revision).toBe(1);
});

test("replication: a node learns how fresh it is, and says so per namespace", async () => {
  const node = await startNode("fra");
  expect(node.client.status()).toMatchObject([{ namespace: NAMESPACE, revision: 0, lagMs: null }]);
  connect(node);
  await node.client.ready(NAMESPACE);
  await node.client.write(NAMESPACE, [put("a", "1")]);
  await vi.waitFor(() => expect(node.client.status()[0]?.lagMs).not.toBeNull(), WAIT);
  const [status] = node.client.status();
  expect(status).toMatchObject({ namespace: NAMESPACE, revision: 1 });
  expect(status?.lagMs).toBeLessThan(5 * LIMITS.heartbeatMs);
});

test("replication: a namespace that is not wanted for a while leaves the node's disk, and comes back", async () => {
  const node = await startConnectedNode("fra");
  await node.client.write(NAMESPACE, [put("a", "1")]);
  node.client.setInterest([]);
  nodeClock.skip(LIMITS.interestGraceMs);
  await vi.waitFor(() => expect(node.replica.held()).toEqual([]), WAIT);
  expect(node.client.status()).toEqual([]);
  await origin.write(NAMESPACE, [put("b", "2")]);
  // The link was silent for as long as the clock says.
  connect(node);
  node.client.setInterest([NAMESPACE]);
  await node.client.ready(NAMESPACE);
  await vi.waitFor(() => expect(textOf(node, "b")).toBe("2"), WAIT);
  expect(textOf(node, "a")).toBe("1");
});

test("replication: a namespace that is wanted again soon is still there, and was followed meanwhile", async () => {
  const node = await startConnectedNode("fra");
  const told: string[] = [];
  const { node: channel } = connect(node);
  channel.onArrival = (message) => void told.push(snapshotMessage(message) ?? "");
  await node.client.write(NAMESPACE, [put("a", "1")]);
  node.client.setInterest([]);
  await origin.write(NAMESPACE, [put("b", "2")]);
  await vi.waitFor(() => expect(textOf(node, "b")).toBe("2"), WAIT);
  node.client.setInterest([NAMESPACE]);
  nodeClock.skip(LIMITS.interestGraceMs);
  connect(node);
  await origin.write(NAMESPACE, [put("c", "3")]);
  await vi.waitFor(() => expect(textOf(node, "c")).toBe("3"), WAIT);
  expect(told).not.toContain("snapshot-start");
  expect(textOf(node, "a")).toBe("1");
});

test("replication: what an earlier run held and this one does not want is dropped", async () => {
  const first = await startConnectedNode("fra");
  await first.client.write(NAMESPACE, [put("a", "1")]);
  for (const close of closers.splice(0).toReversed()) await close();
  const second = await startNode("fra", []);
  expect(second.replica.held()).toEqual([]);
});

test("replication: a namespace that is deleted is gone from the nodes, and says so", async () => {
  const node = await startConnectedNode("fra");
  await node.client.write(NAMESPACE, [put("a", "1")]);
  await origin.deleteNamespace(NAMESPACE);
  await vi.waitFor(() => expect(node.replica.held()).toEqual([]), WAIT);
  const gone = { code: "namespace_not_found" };
  await expect(node.client.ready(NAMESPACE)).rejects.toMatchObject(gone);
  await expect(node.client.write(NAMESPACE, [put("a", "2")])).rejects.toMatchObject(gone);
});

/** Ends the origin and starts one that has only what the file had when it was copied, as after a restore. */
async function restoreOrigin(copy: string): Promise<void> {
  server.close();
  await origin.close();
  const path = join(directory, "kv.sqlite");
  await rm(path);
  await rm(`${path}-wal`, { force: true });
  await copyFile(copy, path);
  startOrigin();
}

/** A copy of all that the origin has now. */
async function copyOrigin(): Promise<string> {
  const copy = join(directory, "copy.sqlite");
  const database = new SqliteDatabase(join(directory, "kv.sqlite"), { readonly: true });
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
    const node = await startConnectedNode("fra");
    await node.client.write(NAMESPACE, [put("base", "1"), put("w", "1")]);
    const copy = await copyOrigin();
    await node.client.write(NAMESPACE, [put("x", "1"), put("y", "1")]);
    await restoreOrigin(copy);
    for (const key of written) await origin.write(NAMESPACE, [put(key, "2")]);
    connect(node);
    await vi.waitFor(() => expect(textOf(node, "z")).toBe("2"), WAIT);
    const keys = node.replica.list(NAMESPACE, { prefix: "", limit: 10 }).entries;
    expect(keys.map(({ key }) => key)).toEqual(["base", "w", ...written]);
    expect(node.replica.point(NAMESPACE)).toEqual(await origin.point(NAMESPACE));
    await vi.waitFor(() => {
      expect(node.client.status()).toMatchObject([
        { repairing: null, repairs: 1, lastRepair: "other-history" },
      ]);
    }, WAIT);
    expect(log.lines).toContainEqual(expect.stringContaining("the origin has another history"));
    const revision = await node.client.write(NAMESPACE, [put("after", "3")]);
    expect([revision, textOf(node, "after")]).toEqual([3 + written.length, "3"]);
  },
);

test("replication: a write right after a restore is there when it is acknowledged", async () => {
  const node = await startConnectedNode("fra");
  await node.client.write(NAMESPACE, [put("base", "1")]);
  const copy = await copyOrigin();
  await node.client.write(NAMESPACE, [put("x", "1"), put("y", "1"), put("z", "1")]);
  await restoreOrigin(copy);
  connect(node);
  // Of a revision that the node has long had, in another history.
  expect(await node.client.write(NAMESPACE, [put("after", "2")])).toBe(2);
  expect([textOf(node, "after"), textOf(node, "x")]).toEqual(["2", undefined]);
});

test("replication: a node that was down while the origin was restored follows it, too", async () => {
  const node = await startConnectedNode("fra");
  await node.client.write(NAMESPACE, [put("base", "1")]);
  const copy = await copyOrigin();
  await node.client.write(NAMESPACE, [put("x", "1")]);
  for (const close of closers.splice(0).toReversed()) await close();
  await restoreOrigin(copy);
  await origin.write(NAMESPACE, [put("z", "2")]);
  const again = await startConnectedNode("fra");
  await vi.waitFor(() => expect(textOf(again, "z")).toBe("2"), WAIT);
  expect(textOf(again, "x")).toBeUndefined();
});

/** Changes the last bit of a key's record on a stopped node's disk. */
async function damageRecord(name: string, key: string): Promise<void> {
  const root = openLmdb({ path: join(directory, name), noSubdir: false });
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
    async (node: Node) => void (await node.client.write(NAMESPACE, [put("a", "1")])),
  ],
  ["nobody reads", async () => undefined],
])("replication: a damaged record that %s is repaired from the origin", async (_who, touch) => {
  const node = await startConnectedNode("fra");
  await node.client.write(NAMESPACE, [put("a", "1"), put("b", "2")]);
  for (const close of closers.splice(0).toReversed()) await close();
  await damageRecord("fra", "a");
  const again = await startConnectedNode("fra");
  await touch(again).catch(() => undefined);
  await vi.waitFor(() => {
    expect(again.client.status()).toMatchObject([
      { repairing: null, repairs: 1, lastRepair: "damaged" },
    ]);
  }, WAIT);
  expect([textOf(again, "a"), textOf(again, "b")]).toEqual(["1", "2"]);
  expect(log.lines).toContainEqual(expect.stringContaining("damaged"));
});

test.each([
  ["no message", { kind: "nonsense" }],
  ["nothing", undefined],
  ["a write with a broken body", { ...EMPTY_WRITE, count: 1 }],
  ["a write with a wrong checksum", { ...EMPTY_WRITE, checksum: 1 }],
  [
    "a write with a condition that its checksum does not cover",
    { ...EMPTY_WRITE, ...encodeWrite([put("a", "1")]), conditions: [{ key: "a", revision: 0 }] },
  ],
  [
    "a write with a condition that is none",
    { ...EMPTY_WRITE, conditions: [{ key: "", revision: 0 }] },
  ],
  ["a write of too many keys", { ...EMPTY_WRITE, count: LIMITS.bulkWriteKeysMax + 1 }],
])("replication: a node that sends %s is cut, and the others are not", async (_what, message) => {
  const other = await startConnectedNode("iad");
  const { node, origin: end } = connectedChannels();
  server.accept(end);
  node.send(message);
  await vi.waitFor(() => expect(node.isClosed).toBe(true), WAIT);
  expect(await other.client.write(NAMESPACE, [put("a", "1")])).toBe(1);
});

test("replication: what the origin sends that is no message ends the connection", async () => {
  const { client } = await startNode("fra");
  const { node, origin: end } = connectedChannels();
  client.attach(node);
  end.send({ kind: "batch", subscription: 1 });
  await vi.waitFor(() => expect(end.isClosed).toBe(true), WAIT);
});

test("replication: after close a client rejects everything, what was pending included", async () => {
  const { client } = await startNode("fra");
  const ready = Promise.allSettled([client.ready(NAMESPACE)]);
  await client.close();
  await client.close();
  expect(await ready).toMatchObject([{ reason: { code: "closed" } }]);
  await expect(client.write(NAMESPACE, [put("a", "1")])).rejects.toMatchObject({ code: "closed" });
  const { node } = connectedChannels();
  client.attach(node);
  expect(node.isClosed).toBe(true);
});
