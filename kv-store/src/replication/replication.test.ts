import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { systemClock } from "../clock.ts";
import { Key, type KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { connectedChannels } from "../test-support/memory-channel.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { OriginServer } from "./origin-server.ts";
import { ReplicaClient } from "./replica-client.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const clock = systemClock;

let directory: string;
let log: RecordedLog;
let origin: SqliteOrigin;
let server: OriginServer;
const closers: Array<() => Promise<void>> = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-replication-"));
  log = new RecordedLog();
  origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log });
  server = new OriginServer({ origin, blobs: { has: async () => true }, clock, log });
  await origin.createNamespace(NAMESPACE);
});

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  server.close();
  await origin.close();
  await rm(directory, { recursive: true });
});

interface Node {
  readonly replica: LmdbReplica;
  readonly client: ReplicaClient;
}

async function startNode(name: string): Promise<Node> {
  const replica = await LmdbReplica.open({ directory: join(directory, name), clock, log });
  const client = new ReplicaClient({ replica, clock, log });
  closers.push(
    () => replica.close(),
    () => client.close(),
  );
  client.setInterest([NAMESPACE]);
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
  const many = Array.from({ length: 1_000 }, (_, index) => put(`k${index % 2_000}`, `${index}`));
  for (let round = 0; round < LIMITS.logRecordsMax / 1_000 + 1; round++) {
    await origin.write(NAMESPACE, many);
  }
  await origin.write(NAMESPACE, [{ kind: "delete", key: Key.parse("old") }]);
  connect(node);
  await vi.waitFor(async () => {
    expect(node.replica.revision(NAMESPACE)).toBe(await origin.revision(NAMESPACE));
  });
  expect([textOf(node, "old"), textOf(node, "kept")]).toEqual([undefined, "1"]);
  expect(textOf(node, "k999")).toBe("999");
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
