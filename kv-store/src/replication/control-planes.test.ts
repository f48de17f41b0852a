import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { systemClock } from "../clock.ts";
import { Key, type KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import { PostgresOrigin } from "../origin/postgres-origin.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { connectedChannels } from "../test-support/memory-channel.ts";
import { PostgresServer } from "../test-support/postgres-server.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { OriginServer } from "./origin-server.ts";
import { ReplicaClient } from "./replica-client.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const clock = systemClock;
const log = new RecordedLog();
vi.setConfig({ testTimeout: 60_000 });

let postgres: PostgresServer;
let database: string;
let directory: string;
const closers: Array<() => Promise<void> | void> = [];

beforeAll(async () => {
  postgres = await PostgresServer.start();
}, 60_000);
afterAll(() => postgres.remove());
beforeEach(async () => {
  database = await postgres.createDatabase();
  directory = await mkdtemp(join(tmpdir(), "atoll-control-planes-"));
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  await rm(directory, { recursive: true });
});

async function startControlPlane(): Promise<OriginServer> {
  const origin = await PostgresOrigin.open({ url: postgres.url(database), clock, log });
  await origin.createNamespace(NAMESPACE);
  const server = new OriginServer({
    origin,
    blobs: { has: async () => true, remove: async () => {} },
    clock,
    log,
  });
  closers.push(
    () => origin.close(),
    () => server.close(),
  );
  return server;
}

interface Node {
  readonly replica: LmdbReplica;
  readonly client: ReplicaClient;
}

async function startNode(name: string, server: OriginServer): Promise<Node> {
  const replica = await LmdbReplica.open({ directory: join(directory, name), clock, log });
  const client = new ReplicaClient({ replica, clock, log });
  closers.push(
    () => replica.close(),
    () => client.close(),
  );
  client.setInterest([NAMESPACE]);
  connect({ replica, client }, server);
  await client.ready(NAMESPACE);
  return { replica, client };
}

function connect({ client }: Node, server: OriginServer): () => void {
  const channels = connectedChannels();
  server.accept(channels.origin);
  client.attach(channels.node);
  return () => channels.node.close();
}

function put(key: string, text: string): KvOperation {
  const value = { kind: "inline", bytes: Buffer.from(text) } as const;
  return { kind: "put", key: Key.parse(key), value };
}

function textOf({ replica }: Node, key: string): string | undefined {
  const value = replica.get(NAMESPACE, key)?.value;
  return value?.kind === "inline" ? Buffer.from(value.bytes).toString() : undefined;
}

test("control planes: what a node of one writes, a node of the other shows before its next heartbeat", async () => {
  const fra = await startNode("fra", await startControlPlane());
  const iad = await startNode("iad", await startControlPlane());
  const delaysMs: number[] = [];
  for (let count = 0; count < 20; count += 1) {
    await fra.client.write(NAMESPACE, [put("a", `${count}`)]);
    const writtenMs = performance.now();
    await waitFor(() => expect(textOf(iad, "a")).toBe(`${count}`));
    delaysMs.push(performance.now() - writtenMs);
  }
  const median = delaysMs.toSorted((a, b) => a - b)[10];
  // Half of a heartbeat is what it would take on average if nobody told.
  expect(median).toBeLessThan(LIMITS.heartbeatMs / 4);
});

test("control planes: nodes of both write at once, and all hold the same in the end", async () => {
  const servers = [await startControlPlane(), await startControlPlane()];
  const nodes = await Promise.all(
    servers.flatMap((server, index) => [
      startNode(`a${index}`, server),
      startNode(`b${index}`, server),
    ]),
  );
  const writers = nodes.map(async ({ client }, writer) => {
    const revisions: number[] = [];
    for (let count = 0; count < 25; count += 1) {
      revisions.push(await client.write(NAMESPACE, [put(`${count % 5}`, `${writer}/${count}`)]));
    }
    expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
    return revisions;
  });
  const revisions = (await Promise.all(writers)).flat().toSorted((a, b) => a - b);
  expect(revisions).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
  await waitFor(() => {
    for (const { replica } of nodes) expect(replica.revision(NAMESPACE)).toBe(100);
  });
  const states = nodes.map((node) => Array.from({ length: 5 }, (_, key) => textOf(node, `${key}`)));
  for (const state of states) expect(state).toEqual(states[0]);
});

test("control planes: a node goes on at another one where it was", async () => {
  const [first, second] = [await startControlPlane(), await startControlPlane()];
  const fra = await startNode("fra", second);
  const iad = await startNode("iad", first);
  const disconnect = connect(iad, first);
  await iad.client.write(NAMESPACE, [put("a", "1")]);
  disconnect();
  await fra.client.write(NAMESPACE, [put("b", "2")]);
  connect(iad, second);
  expect(await iad.client.write(NAMESPACE, [put("c", "3")])).toBe(3);
  expect(["a", "b", "c"].map((key) => textOf(iad, key))).toEqual(["1", "2", "3"]);
});

test("control planes: while the database is down nodes read on and writes say to repeat them", async () => {
  const fra = await startNode("fra", await startControlPlane());
  const iad = await startNode("iad", await startControlPlane());
  await fra.client.write(NAMESPACE, [put("a", "1")]);
  await waitFor(() => expect(textOf(iad, "a")).toBe("1"));
  await postgres.kill();
  await expect(fra.client.write(NAMESPACE, [put("a", "2")])).rejects.toMatchObject({
    code: "origin_unreachable",
    retryable: true,
  });
  expect([textOf(fra, "a"), textOf(iad, "a")]).toEqual(["1", "1"]);
  await postgres.restart();
  await waitFor(() => fra.client.write(NAMESPACE, [put("a", "3")]));
  await waitFor(() => expect(textOf(iad, "a")).toBe("3"));
});
