import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Key, type KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { connectedChannels, type MemoryChannel } from "../test-support/memory-channel.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { encodeBatches } from "./batch.ts";
import { MessageToOrigin } from "./messages.ts";
import { OriginSession } from "./origin-session.ts";
import { ReplicaClient } from "./replica-client.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const OTHER = NamespaceId.parse("b".repeat(32));
const DELETE: KvOperation = { kind: "delete", key: Key.parse("k") };
const HOUR_MS = 3_600_000;

let directory: string;
let clock: ManualClock;
let log: RecordedLog;
let replica: LmdbReplica;
let client: ReplicaClient;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-client-"));
  clock = new ManualClock();
  log = new RecordedLog();
  replica = await LmdbReplica.open({ directory, clock, log });
  client = new ReplicaClient({ replica, clock, log });
  client.setInterest([NAMESPACE]);
});
afterEach(async () => {
  await client.close();
  await replica.close();
  await rm(directory, { recursive: true });
});

/** Connects an origin that takes everything and says nothing. */
function connectSilent(): MemoryChannel {
  const { node } = connectedChannels();
  client.attach(node);
  return node;
}

test.each([
  ["back", -HOUR_MS],
  ["forwards", HOUR_MS],
])(
  "ReplicaClient: a write that gets no answer ends in its time, also when the clock is set %s",
  async (_direction, stepMs) => {
    connectSilent();
    let outcome: unknown = "pending";
    const write = client.write(NAMESPACE, [DELETE]).catch((error: unknown) => (outcome = error));
    clock.stepWall(stepMs);
    clock.advance(LIMITS.originSilenceMs);
    await Promise.resolve();
    expect(outcome).toBe("pending");
    clock.advance(2 * LIMITS.tickMs);
    await write;
    expect(outcome).toMatchObject({ code: "origin_unreachable" });
  },
);

test("ReplicaClient: a wait for a namespace ends in its time, also when the clock is set back", async () => {
  connectSilent();
  const ready = client.ready(NAMESPACE);
  clock.stepWall(-HOUR_MS);
  clock.advance(LIMITS.replicaReadyMs + LIMITS.tickMs);
  await expect(ready).rejects.toMatchObject({ code: "replica_behind" });
});

test("ReplicaClient: namespaces past the bound are left out, and take the place of none that are followed", async () => {
  const origin = new OriginSession(clock.monotonicMs());
  const { node } = connectedChannels();
  const cuts: unknown[] = [];
  vi.spyOn(node, "send").mockImplementation((sent) => {
    const message = MessageToOrigin.parse(sent);
    const effects = origin.handle({ kind: "message", message, nowMs: clock.monotonicMs() });
    cuts.push(...effects.filter(({ kind }) => kind === "cut"));
  });
  const many = Array.from({ length: LIMITS.subscriptionsMax }, (_, index) =>
    NamespaceId.parse(index.toString(16).padStart(32, "0")),
  );
  client.attach(node);
  // Those that leave make room at once.
  client.setInterest([OTHER]);
  client.setInterest([...many, OTHER]);
  const followed = client.status().map(({ namespace }) => namespace);
  expect(new Set(followed)).toEqual(new Set([...many.slice(0, -1), OTHER]));
  expect(log.lines).toHaveLength(1);
  client.setInterest(many);
  expect(client.status().map(({ namespace }) => namespace)).toContain(many.at(-1));
  expect(cuts).toEqual([]);
});

test("ReplicaClient: a silent link is cut in its time, also when the clock is set back", () => {
  const channel = connectSilent();
  clock.stepWall(-HOUR_MS);
  clock.advance(LIMITS.linkSilenceMs + 2 * LIMITS.tickMs);
  expect(channel.isClosed).toBe(true);
});

test("ReplicaClient: a copy grows stale by the time that passes, also when the clock is set back", async () => {
  const { point } = new TrackedState();
  await replica.store(NAMESPACE, { kind: "snapshot-start", ...point });
  await replica.store(NAMESPACE, { kind: "snapshot-end", ...point, through: null });
  const following = new ReplicaClient({ replica, clock, log });
  following.setInterest([NAMESPACE]);
  const { node } = connectedChannels();
  following.attach(node);
  const positions = [{ subscription: 1, ...point }];
  node.deliver({ kind: "heartbeat", atMs: 0, echoMs: clock.monotonicMs(), positions });
  clock.stepWall(-HOUR_MS);
  clock.advance(1_000);
  expect(following.status()).toMatchObject([
    { namespace: NAMESPACE, revision: 0, lagMs: 1_000, repairing: null, repairs: 0 },
  ]);
  await following.close();
});

test("ReplicaClient: a namespace given up in the middle of a batch is gone, and starts anew when wanted", async () => {
  const { node, origin } = connectedChannels();
  const subscribed: unknown[] = [];
  origin.onMessage((message) => {
    const { kind, after } = message as { kind: string; after?: unknown };
    if (kind === "subscribe") subscribed.push(after);
  });
  client.setInterest([]);
  clock.advance(LIMITS.interestGraceMs - 1);
  client.attach(node);
  const state = new TrackedState();
  const deliver = (message: object): void => node.deliver({ ...state.point, ...message });
  deliver({ kind: "snapshot-start", subscription: 1, sequence: 1 });
  deliver({ kind: "snapshot-end", subscription: 1, sequence: 2, through: null });
  const [batch] = encodeBatches([{ ...state.apply([DELETE]), operation: DELETE }]);
  node.deliver({ kind: "batch", subscription: 1, sequence: 3, ...batch });
  clock.advance(LIMITS.tickMs);
  // Changes go in the order of the calls: when this one is done, so are those before it.
  await replica.store(OTHER, { kind: "drop" });
  expect(replica.held()).toEqual([]);
  client.setInterest([NAMESPACE]);
  deliver({ kind: "snapshot-start", subscription: 2, sequence: 4, revision: 7 });
  deliver({ kind: "snapshot-end", subscription: 2, sequence: 5, revision: 7, through: null });
  await waitFor(() => expect(client.status()).toMatchObject([{ revision: 7 }]));
  expect(subscribed).toEqual([null, null]);
  expect(log.lines).toEqual([]);
});

/** A client that holds an empty namespace, and its end of a connection to an origin that the test plays. */
async function connectHolding(): Promise<{
  readonly following: ReplicaClient;
  readonly node: MemoryChannel;
  readonly state: TrackedState;
}> {
  const state = new TrackedState();
  await replica.store(NAMESPACE, { kind: "snapshot-start", ...state.point });
  await replica.store(NAMESPACE, { kind: "snapshot-end", ...state.point, through: null });
  const following = new ReplicaClient({ replica, clock, log });
  following.setInterest([NAMESPACE]);
  const { node } = connectedChannels();
  following.attach(node);
  return { following, node, state };
}

test("ReplicaClient: a batch waits for others only while nobody on the node waits for it", async () => {
  const { following, node, state } = await connectHolding();
  const store = vi.spyOn(replica, "store");
  let sequence = 0;
  const deliver = (): void => {
    // Long enough after the commit before: it does not gather.
    clock.advance(LIMITS.replicaGatherMsMax);
    const [batch] = encodeBatches([{ ...state.apply([DELETE]), operation: DELETE }]);
    node.deliver({ kind: "batch", subscription: 1, sequence: (sequence += 1), ...batch });
  };
  deliver();
  await waitFor(() => expect(replica.revision(NAMESPACE)).toBe(1));
  const read = following.readable(NAMESPACE, { minRevision: Revision.parse(2) });
  deliver();
  await read;
  const write = following.write(NAMESPACE, [DELETE]);
  deliver();
  node.deliver({ kind: "written", id: 1, revision: 3 });
  await write;
  deliver();
  await waitFor(() => expect(replica.revision(NAMESPACE)).toBe(4));
  const awaited = store.mock.calls.map(([, , options]) => options?.isAwaited);
  expect(awaited).toEqual([false, true, true, false]);
  await following.close();
});

/** How a promise has ended by now. */
async function outcomeOf(promise: Promise<unknown> | undefined): Promise<unknown> {
  if (promise === undefined) return "at once";
  const ended = promise.then(
    (result) => result ?? "done",
    (error: unknown) => error,
  );
  const turn = new Promise((resolve) => setImmediate(() => resolve("waiting")));
  return Promise.race([ended, turn]);
}

test("ReplicaClient: a write that was acknowledged before the stream was cut is a success, and reads of its key wait", async () => {
  const { following, node, state } = await connectHolding();
  const write = following.write(NAMESPACE, [DELETE]);
  node.deliver({ kind: "written", id: 1, revision: 1 });
  expect(await outcomeOf(write)).toBe("waiting");
  node.close();
  expect(await write).toBe(1);
  const k = Key.parse("k");
  const reading = following.readable(NAMESPACE, { keys: [k] });
  expect(await outcomeOf(reading)).toBe("waiting");
  expect(await outcomeOf(following.readable(NAMESPACE, { prefix: "" }))).toBe("waiting");
  for (const other of [{ keys: [Key.parse("other")] }, { prefix: "kk" }]) {
    expect(following.readable(NAMESPACE, other)).toBeUndefined();
  }
  // It comes back with the next connection.
  const { node: next } = connectedChannels();
  following.attach(next);
  const [batch] = encodeBatches([{ ...state.apply([DELETE]), operation: DELETE }]);
  next.deliver({ kind: "batch", subscription: 2, sequence: 1, ...batch });
  await reading;
  expect(following.readable(NAMESPACE, { keys: [k] })).toBeUndefined();
  await following.close();
});

test("ReplicaClient: reads of a key whose acknowledged write does not come back say so after their time", async () => {
  const { following, node } = await connectHolding();
  const write = following.write(NAMESPACE, [DELETE]);
  node.deliver({ kind: "written", id: 1, revision: 1 });
  node.close();
  await write;
  const demand = { keys: [Key.parse("k")] };
  const reading = following.readable(NAMESPACE, demand);
  clock.advance(LIMITS.ownWriteMs - LIMITS.tickMs);
  expect(await outcomeOf(reading)).toBe("waiting");
  clock.advance(2 * LIMITS.tickMs);
  const refusal = {
    code: "replica_behind",
    retryable: true,
    message: expect.stringMatching(/acknowledged a write of key "k", revision 1/),
  };
  expect(await outcomeOf(reading)).toMatchObject(refusal);
  // From then on at once.
  expect(await outcomeOf(following.readable(NAMESPACE, demand))).toMatchObject(refusal);
  await following.close();
});

test("ReplicaClient: a read that asks for a revision waits for it, and is refused in its time", async () => {
  const { following, node, state } = await connectHolding();
  const demand = { minRevision: Revision.parse(1) };
  expect(following.readable(NAMESPACE, { minRevision: Revision.parse(0) })).toBeUndefined();
  const late = following.readable(NAMESPACE, demand);
  clock.advance(LIMITS.freshReadMs - LIMITS.tickMs);
  expect(await outcomeOf(late)).toBe("waiting");
  clock.advance(2 * LIMITS.tickMs);
  expect(await outcomeOf(late)).toMatchObject({
    code: "replica_behind",
    message: "revision 1 was asked for, and this node has 0",
  });
  const reading = following.readable(NAMESPACE, demand);
  const [batch] = encodeBatches([{ ...state.apply([DELETE]), operation: DELETE }]);
  node.deliver({ kind: "batch", subscription: 1, sequence: 1, ...batch });
  await reading;
  expect(following.freshness(NAMESPACE).revision).toBe(1);
  await following.close();
});

test("ReplicaClient: a read that asks for freshness gets it with the next heartbeat, or is refused", async () => {
  const { following, node, state } = await connectHolding();
  const demand = { maxStalenessMs: 300 };
  const reading = following.readable(NAMESPACE, demand);
  expect(await outcomeOf(reading)).toBe("waiting");
  const heartbeat = (): void => {
    const positions = [{ subscription: 1, ...state.point }];
    node.deliver({ kind: "heartbeat", atMs: 0, echoMs: clock.monotonicMs(), positions });
  };
  heartbeat();
  expect(await outcomeOf(reading)).toBe("done");
  clock.advance(300);
  expect(following.readable(NAMESPACE, demand)).toBeUndefined();
  clock.advance(1);
  expect(following.freshness(NAMESPACE)).toEqual({ revision: 0, lagMs: 301 });
  const late = following.readable(NAMESPACE, demand);
  clock.advance(LIMITS.freshReadMs + LIMITS.tickMs);
  expect(await outcomeOf(late)).toMatchObject({
    code: "replica_behind",
    message: expect.stringMatching(/at most 300 ms of age were asked for, and .* up to \d+ ms old/),
  });
  await following.close();
  await expect(following.readable(NAMESPACE, {})).rejects.toMatchObject({ code: "closed" });
});

test("ReplicaClient: reads that wait are bounded, and those that need not wait are answered all the same", async () => {
  const { following } = await connectHolding();
  const demand = { minRevision: Revision.parse(1) };
  const waiting = Array.from({ length: LIMITS.waitingReadsMax }, () =>
    outcomeOf(following.readable(NAMESPACE, demand)),
  );
  const refusal = { code: "busy", retryable: true };
  await expect(following.readable(NAMESPACE, demand)).rejects.toMatchObject(refusal);
  expect(following.readable(NAMESPACE, {})).toBeUndefined();
  expect(new Set(await Promise.all(waiting))).toEqual(new Set(["waiting"]));
  clock.advance(LIMITS.freshReadMs + LIMITS.tickMs);
  await new Promise(setImmediate);
  expect(await outcomeOf(following.readable(NAMESPACE, demand))).toBe("waiting");
  await following.close();
});
