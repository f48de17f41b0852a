import { beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision, type HistoryPoint } from "../names.ts";
import type { StoreAction } from "../replica/replica.ts";
import { put } from "../test-support/origin-place.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { encodeBatches } from "./batch.ts";
import type { MessageFromOrigin, MessageToOrigin } from "./messages.ts";
import type { ReplicaEffect, ReplicaInput, StoreOutcome } from "./replica-exchange.ts";
import { ReplicaSession } from "./replica-session.ts";
import type { Held } from "./replica-subscription.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const START_MS = 1_000;
const NOTHING: Held = { point: null, snapshot: null, isPartial: false };

type Subscribe = MessageToOrigin & { kind: "subscribe" };

/** A session with one namespace, whose disk and origin the test plays. */
class Driver {
  readonly #session = new ReplicaSession(START_MS);
  nowMs = START_MS;
  /** All that it did, in order. */
  readonly effects: ReplicaEffect[] = [];
  /** Stores that were not answered. */
  readonly #stores: number[] = [];
  #sequence = 0;

  constructor(held: Held) {
    this.#take({ kind: "interest", wanted: new Map([[NAMESPACE, held]]), nowMs: this.nowMs });
    this.connect();
  }

  connect(): void {
    this.#sequence = 0;
    this.#take({ kind: "connected", nowMs: this.nowMs });
  }

  disconnect(): void {
    this.#take({ kind: "disconnected" });
  }

  get position(): ReturnType<ReplicaSession["positions"]>[number] | undefined {
    return this.#session.position(NAMESPACE);
  }

  /** What it asked the origin for, the last time. */
  get asked(): Subscribe {
    const asked = this.#subscribes.at(-1);
    if (asked === undefined) throw new Error("it did not ask for anything");
    return asked;
  }

  get askCount(): number {
    return this.#subscribes.length;
  }

  get reports(): string[] {
    return this.effects.flatMap((effect) => (effect.kind === "report" ? effect.text : []));
  }

  get settled(): unknown[] {
    return this.effects.flatMap((effect) => (effect.kind === "settle" ? effect.result : []));
  }

  get #subscribes(): Subscribe[] {
    const sent = this.effects.flatMap((effect) => (effect.kind === "send" ? effect.message : []));
    return sent.filter((message) => message.kind === "subscribe");
  }

  /** All that it gave to its disk, in order. */
  get stores(): StoreAction[] {
    return this.effects.flatMap((effect) => (effect.kind === "store" ? effect.action : []));
  }

  wait(ms: number): void {
    this.nowMs += ms;
    this.#take({ kind: "tick", nowMs: this.nowMs });
  }

  heartbeat(point: HistoryPoint, echoMs = this.nowMs): void {
    const positions = [{ subscription: this.asked.subscription, ...point }];
    this.#hear({ kind: "heartbeat", atMs: 0, echoMs, positions });
  }

  /** One operation, and where it leads. */
  batch(state: TrackedState, text: string): void {
    const operation = put("k", text);
    const [batch] = encodeBatches([{ ...state.apply([operation]), operation }]);
    if (batch === undefined) throw new Error("one record is one batch");
    this.#data({ kind: "batch", ...batch });
  }

  snapshotStart(point: HistoryPoint, isOtherHistory = false): void {
    this.#data({ kind: "snapshot-start", isOtherHistory, ...point });
  }

  /** The end of one without entries. */
  snapshotEnd(point: HistoryPoint): void {
    this.#data({ kind: "snapshot-end", through: null, ...point });
  }

  /** A message is lost, and the next one shows it: it is of a subscription that is no more. */
  lose(): void {
    this.#sequence += 2;
    const [batch] = encodeBatches([{ ...held, operation: put("k", "") }]);
    if (batch === undefined) throw new Error("one record is one batch");
    this.#hear({ kind: "batch", subscription: 0, sequence: this.#sequence, ...batch });
  }

  gone(): void {
    this.#hear({ kind: "gone", subscription: this.asked.subscription });
  }

  write(id: number): void {
    const operations = [put("w", "")];
    const { nowMs } = this;
    const write = { id, namespace: NAMESPACE, operations, conditions: [], nowMs };
    this.#take({ kind: "write", ...write });
  }

  written(id: number, revision: number): void {
    this.#hear({ kind: "written", id, revision: Revision.parse(revision) });
  }

  damaged(): void {
    this.#take({ kind: "damaged", namespace: NAMESPACE, what: "a bit", nowMs: this.nowMs });
  }

  /** Answers the oldest store that was not answered. */
  stored(point: HistoryPoint | null, outcome: StoreOutcome = "stored"): void {
    const token = this.#stores.shift();
    if (token === undefined) throw new Error("nothing is on its way to the disk");
    this.#take({
      kind: "stored",
      token,
      outcome,
      held: { point, snapshot: null, isPartial: false },
    });
  }

  #data(message: object): void {
    this.#sequence += 1;
    const { subscription } = this.asked;
    const whole = { ...message, subscription, sequence: this.#sequence };
    this.#hear(whole as MessageFromOrigin); // its caller gave the rest
  }

  #hear(message: MessageFromOrigin): void {
    this.#take({ kind: "message", message, nowMs: this.nowMs });
  }

  #take(input: ReplicaInput): void {
    const effects = this.#session.handle(input);
    this.effects.push(...effects);
    for (const effect of effects) if (effect.kind === "store") this.#stores.push(effect.token);
  }
}

let state: TrackedState;
let held: HistoryPoint;

beforeEach(() => {
  state = new TrackedState();
  held = state.apply([put("a", ""), put("b", ""), put("c", "")]);
});

/** A node that holds the state and follows it. */
function following(): Driver {
  return new Driver({ point: held, snapshot: null, isPartial: false });
}

/** A point of another history that went as far. */
function otherAt(revision: number): HistoryPoint {
  const other = new TrackedState();
  for (let count = 1; count < revision; count += 1) other.apply([put("x", `${count}`)]);
  return other.apply([put("x", "last")]);
}

test("ReplicaSession: after a failed transaction it asks for what follows the disk, not for what was on its way", () => {
  const node = following();
  node.batch(state, "1");
  node.batch(state, "2");
  node.stored(held, "failed");
  node.stored(held, "failed");
  expect(node.asked.after).toBe(3);
  node.wait(LIMITS.replicaRetryMs);
  expect([node.askCount, node.asked]).toMatchObject([2, { after: 3, digest: held.digest }]);
});

test("ReplicaSession: a snapshot that was on its way before damage was found does not mend it", () => {
  const node = new Driver(NOTHING);
  node.snapshotStart(held);
  node.snapshotEnd(held);
  node.stored(null);
  node.damaged();
  node.stored(held);
  expect(node.position).toMatchObject({ repairing: "damaged", repairs: 0 });
  node.wait(LIMITS.replicaRepairMs);
  expect(node.asked.after).toBeNull();
  node.snapshotStart(held);
  node.snapshotEnd(held);
  node.stored(held);
  node.stored(held);
  expect(node.position).toMatchObject({ repairing: null, repairs: 1, lastRepair: "damaged" });
});

test("ReplicaSession: a snapshot on its way counts as the repair, whatever more is heard of the other history", () => {
  const node = following();
  const other = otherAt(2);
  node.write(1);
  node.write(2);
  node.snapshotStart(other, true);
  node.snapshotEnd(other);
  node.written(1, 1);
  node.written(2, 2);
  node.stored(held);
  node.stored(other);
  expect(node.position).toMatchObject({ repairing: null, repairs: 1, lastRepair: "other-history" });
  expect(node.reports).toHaveLength(1);
});

test("ReplicaSession: a snapshot on its way does not show a write that another history has, which came to be since", () => {
  const node = following();
  const other = otherAt(2);
  node.batch(state, "1");
  node.snapshotStart(other, true);
  node.snapshotEnd(other);
  // Broken: it asks for nothing before all that is on its way has ended.
  node.stored(held, "failed");
  node.disconnect();
  node.connect();
  node.write(1);
  // The origin was restored once more.
  node.written(1, 2);
  node.stored(held);
  node.stored(other);
  expect(node.settled).toEqual([]);
  expect(node.position).toMatchObject({ repairing: "other-history", repairs: 0 });
});

test("ReplicaSession: what a failed drop brings back counts for nothing", () => {
  const node = following();
  node.gone();
  node.stored(null, "failed");
  node.disconnect();
  node.connect();
  expect(node.asked.after).toBeNull();
  const other = otherAt(4);
  node.snapshotStart(other);
  // The replica finds on its disk what the drop left there.
  node.stored(held);
  node.heartbeat(held);
  expect(node.position?.freshMs).toBeNull();
  node.snapshotEnd(other);
  node.stored(other);
  node.heartbeat(other);
  expect(node.position?.freshMs).toBe(START_MS);
});

test("ReplicaSession: a snapshot that ends on disk after its namespace was gone counts for nothing", () => {
  const node = new Driver(NOTHING);
  node.snapshotStart(held);
  node.snapshotEnd(held);
  node.stored(null);
  node.gone();
  node.disconnect();
  node.connect();
  // What the drop behind it leaves when it fails.
  node.stored(held);
  node.stored(held, "failed");
  node.heartbeat(otherAt(3));
  expect(node.position?.freshMs).toBeNull();
});

test("ReplicaSession: a snapshot that ends on disk after a cut counts, when all goes on from it", () => {
  const node = new Driver(NOTHING);
  node.snapshotStart(held);
  node.snapshotEnd(held);
  node.stored(null);
  node.disconnect();
  node.connect();
  expect(node.asked).toMatchObject({ after: 3, digest: held.digest });
  node.stored(held);
  node.heartbeat(held);
  expect(node.position?.freshMs).toBe(START_MS);
});

test("ReplicaSession: of a namespace that is gone it says nothing any more", () => {
  const node = following();
  node.heartbeat(held);
  expect(node.position).toMatchObject({ applied: 3, freshMs: START_MS });
  node.gone();
  expect(node.position).toMatchObject({ standing: "gone", applied: null, freshMs: null });
});

test("ReplicaSession: an answer shows another history also while what is held is being replaced", () => {
  const node = following();
  node.damaged();
  expect(node.asked.after).toBeNull();
  node.write(1);
  node.written(1, 3);
  expect(node.reports.at(-1)).toMatch(/^the origin has another history/);
});

test.each(["snapshot-start", "snapshot-end"])(
  "ReplicaSession: a %s as far as what is held, of another state, is of another history",
  (kind) => {
    const node = following();
    const other = otherAt(3);
    node.snapshotStart(kind === "snapshot-start" ? other : held);
    expect(node.reports).toHaveLength(kind === "snapshot-start" ? 1 : 0);
    if (kind === "snapshot-start") return;
    // Begun in an earlier life of the node, as far as anybody knows.
    const resumed = new Driver({
      point: held,
      snapshot: { ...other, after: null },
      isPartial: false,
    });
    resumed.snapshotEnd(other);
    expect(resumed.reports).toHaveLength(1);
  },
);

test("ReplicaSession: what a failed drop brings back counts for nothing after another failure either", () => {
  const node = following();
  node.gone();
  node.stored(null, "failed");
  node.disconnect();
  node.connect();
  node.heartbeat(otherAt(2));
  node.write(1);
  const other = otherAt(4);
  node.snapshotStart(other);
  // The disk fails again, and has what the drop left there.
  node.stored(held, "failed");
  node.written(1, 3);
  node.wait(LIMITS.replicaRetryMs);
  expect(node.asked.after).toBeNull();
  node.snapshotStart(other);
  node.stored(held);
  expect([node.settled, node.position]).toMatchObject([[], { applied: 3, freshMs: null }]);
  node.snapshotEnd(other);
  node.stored(other);
  expect(node.settled).toMatchObject([{ kind: "visible", revision: 3 }]);
});

test("ReplicaSession: a batch that comes first, behind what was lost, may be of another history, and is not taken", () => {
  const node = following();
  const other = new TrackedState();
  const restored = other.apply([put("a", ""), put("b", ""), put("x", "")]);
  node.wait(LIMITS.replicaAskMs);
  // The start, the pages and the end of a snapshot, whose history goes on from the revision that the node holds.
  node.lose();
  node.batch(other, "1");
  expect(node.stores).toEqual([]);
  expect([node.askCount, node.asked]).toMatchObject([2, { after: 3, digest: held.digest }]);
  node.snapshotStart(restored, true);
  expect(node.position).toMatchObject({ repairing: "other-history", freshMs: null });
});

test("ReplicaSession: what is held is not fresh because another history, whose start was lost, came as far", () => {
  const node = following();
  const other = new TrackedState();
  const restored = other.apply([put("a", ""), put("b", ""), put("x", "")]);
  const pingMs = node.nowMs;
  node.wait(LIMITS.replicaAskMs);
  node.lose();
  node.batch(other, "1");
  // Read before the batch was written.
  node.heartbeat(restored, pingMs);
  expect(node.position).toMatchObject({ applied: 3, freshMs: null });
});

test("ReplicaSession: what comes behind the first message of an answer is taken, whatever of others is lost", () => {
  const node = following();
  node.batch(state, "1");
  node.lose();
  node.batch(state, "2");
  expect(node.stores).toMatchObject([{ kind: "batch" }, { kind: "batch" }]);
  expect([node.askCount, node.reports]).toEqual([1, []]);
});

test("ReplicaSession: heartbeats that come all at once make it ask for what was lost once", () => {
  const node = following();
  node.wait(LIMITS.replicaAskMs);
  for (let count = 0; count < 5; count += 1) {
    node.lose();
    node.heartbeat(otherAt(9));
  }
  expect(node.askCount).toBe(2);
  node.wait(LIMITS.replicaAskMs);
  node.heartbeat(otherAt(9));
  expect(node.askCount).toBe(3);
});

test("ReplicaSession: a snapshot that goes on over another connection and leads nowhere is of two histories", () => {
  const node = new Driver(NOTHING);
  node.snapshotStart(held);
  node.stored(null);
  node.disconnect();
  node.connect();
  // The origin was restored meanwhile to where the snapshot began, and went on otherwise.
  node.snapshotEnd(held);
  node.stored(null, "damaged");
  expect(node.position).toMatchObject({ repairing: "other-history", freshMs: null });
  expect(node.reports).toHaveLength(1);
  expect(node.reports[0]).toContain("another history");
});

test("ReplicaSession: one that came over one connection and leads nowhere is damaged", () => {
  const node = new Driver(NOTHING);
  node.snapshotStart(held);
  node.disconnect();
  node.connect();
  node.snapshotStart(held);
  node.snapshotEnd(held);
  node.stored(null);
  node.stored(null);
  node.stored(null, "damaged");
  expect(node.position).toMatchObject({ repairing: "damaged" });
});

test("ReplicaSession: a snapshot that leads nowhere holds up none that was begun behind it", () => {
  const node = new Driver(NOTHING);
  node.snapshotStart(otherAt(2));
  node.snapshotEnd(otherAt(2));
  // The disk is slow, and the origin asks no longer whether it is done.
  node.disconnect();
  node.connect();
  node.snapshotStart(held);
  node.snapshotEnd(held);
  node.stored(null);
  node.stored(null, "damaged");
  expect(node.position).toMatchObject({ standing: "following", repairing: null });
  node.stored(null);
  node.stored(held);
  expect(node.position).toMatchObject({ confirmed: held.revision, repairing: null });
  node.wait(LIMITS.replicaRepairMs);
  expect(node.askCount).toBe(2);
});
