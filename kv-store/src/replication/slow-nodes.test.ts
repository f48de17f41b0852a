import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Key, type KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { HurriedClock } from "../test-support/hurried-clock.ts";
import { connectedChannels } from "../test-support/memory-channel.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { waitFor } from "../test-support/wait-for.ts";
import type { Channel } from "./channel.ts";
import { OriginServer } from "./origin-server.ts";
import { ReplicaClient } from "./replica-client.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));

let directory: string;
let log: RecordedLog;
let clock: HurriedClock;
let origin: SqliteOrigin;
let server: OriginServer;
const closers: Array<() => Promise<void>> = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-slow-"));
  log = new RecordedLog();
  clock = new HurriedClock();
  origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log });
  await origin.createNamespace(NAMESPACE);
  const blobs = { has: async () => true, remove: async () => {} };
  server = new OriginServer({ origin, blobs, clock, log });
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  server.close();
  await origin.close();
  await rm(directory, { recursive: true });
});

interface Sent {
  readonly kind: string;
  readonly sequence?: number;
  readonly revision?: number;
  readonly body?: Uint8Array;
}

/** A node's connection as the origin sees it, whose node does only what the test does. */
class WatchedChannel implements Channel {
  readonly sent: Sent[] = [];
  isClosed = false;
  #onMessage: (message: unknown) => void = () => {};
  #onClose: () => void = () => {};

  send(message: unknown): void {
    this.sent.push(message as Sent); // what the origin sends
  }

  say(message: object): void {
    this.#onMessage(message);
  }

  onMessage(listener: (message: unknown) => void): void {
    this.#onMessage = listener;
  }

  onClose(listener: () => void): void {
    this.#onClose = listener;
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#onClose();
  }

  get bytes(): number {
    return this.sent.reduce((sum, { body }) => sum + (body?.length ?? 0), 0);
  }
}

function subscribe(): WatchedChannel {
  const channel = new WatchedChannel();
  server.accept(channel);
  channel.say({ kind: "subscribe", subscription: 1, namespace: NAMESPACE, after: null });
  return channel;
}

function put(key: string, bytes = 10): KvOperation {
  const value = { kind: "inline", bytes: randomBytes(bytes) } as const;
  return { kind: "put", key: Key.parse(key), value };
}

async function startNode(): Promise<{ replica: LmdbReplica; client: ReplicaClient }> {
  const replica = await LmdbReplica.open({ directory: join(directory, "node"), clock, log });
  const client = new ReplicaClient({ replica, clock, log });
  closers.push(
    () => replica.close(),
    () => client.close(),
  );
  client.setInterest([NAMESPACE]);
  const channels = connectedChannels();
  server.accept(channels.origin);
  client.attach(channels.node);
  await client.ready(NAMESPACE);
  return { replica, client };
}

test("slow nodes: one encoded batch goes to all nodes that want it", async () => {
  const channels = [subscribe(), subscribe(), subscribe()];
  for (const channel of channels) {
    await waitFor(() => expect(channel.sent.at(-1)?.kind).toBe("snapshot-end"));
  }
  // The empty read of the log's end makes them live.
  await new Promise((resolve) => setImmediate(resolve));
  await origin.write(NAMESPACE, [put("a"), put("b")]);
  const bodies = new Set<Uint8Array | undefined>();
  for (const channel of channels) {
    await waitFor(() => expect(channel.sent.at(-1)?.kind).toBe("batch"));
    bodies.add(channel.sent.at(-1)?.body);
  }
  expect(bodies.size).toBe(1);
});

test("slow nodes: one that takes nothing holds up no other, is cut, and catches up later", async () => {
  const slow = subscribe();
  await waitFor(() => expect(slow.sent.at(-1)?.kind).toBe("snapshot-end"));
  const { replica } = await startNode();
  // Ten times what may be under way to a node.
  const rounds = (10 * LIMITS.windowBytesMax) / LIMITS.inlineValueBytesMax;
  for (let round = 0; round < rounds; round += 1) {
    await origin.write(NAMESPACE, [put(`k${round % 20}`, LIMITS.inlineValueBytesMax)]);
    slow.say({ kind: "ping", atMs: round });
  }
  await waitFor(() => expect(replica.revision(NAMESPACE)).toBe(rounds));
  // What crossed the window, and the answer of one read.
  expect(slow.bytes).toBeLessThan(LIMITS.windowBytesMax + 2 * LIMITS.logPageBytesMax);
  expect(slow.isClosed).toBe(false);
  // It is lively, and applies nothing.
  clock.skip(LIMITS.windowStallMs);
  slow.say({ kind: "ping", atMs: rounds });
  await waitFor(() => expect(slow.isClosed).toBe(true));
  const again = subscribe();
  await waitFor(() => {
    // A heartbeat may have come since.
    const last = again.sent.findLast(({ sequence }) => sequence !== undefined);
    if (last?.sequence !== undefined) again.say({ kind: "received", sequence: last.sequence });
    expect(last).toMatchObject({ kind: "snapshot-end", revision: rounds });
  });
});
