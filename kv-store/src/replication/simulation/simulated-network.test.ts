import { expect, test } from "vitest";
import { Key } from "../../entry.ts";
import { LIMITS } from "../../limits.ts";
import type { NamespaceId } from "../../names.ts";
import type { NodeWatcher } from "./node-watcher.ts";
import { Random } from "./random.ts";
import { RHYTHMS } from "./seed-kind.ts";
import { NAMESPACES } from "./simulated-clients.ts";
import { SimulatedNetwork } from "./simulated-network.ts";
import { SimulatedNode } from "./simulated-node.ts";
import { SimulatedOrigin } from "./simulated-origin.ts";
import { Timeline } from "./timeline.ts";

const ignored = (): void => {};
const WATCHER: NodeWatcher = {
  ...{ changed: ignored, settled: ignored, asked: ignored, read: ignored, damageFound: ignored },
  ...{ repaired: ignored, readEnded: ignored, cut: ignored },
};

/** A node that has asked for one namespace, and nothing fails any more. */
function connected(): {
  readonly timeline: Timeline;
  readonly network: SimulatedNetwork;
  readonly origin: SimulatedOrigin;
  readonly node: SimulatedNode;
  readonly asks: { readonly count: number };
} {
  const timeline = new Timeline();
  const parts = { timeline, random: new Random(1), rhythm: RHYTHMS.dense };
  const origin = new SimulatedOrigin(NAMESPACES, { ...parts, isSound: true });
  const network = new SimulatedNetwork(origin, parts);
  const asks = { count: 0 };
  const node = new SimulatedNode(0, {
    ...{ ...parts, namespaces: NAMESPACES.slice(0, 1), valueOf: () => new Uint8Array() },
    watcher: { ...WATCHER, asked: () => (asks.count += 1) },
  });
  network.endFaults();
  node.endFaults();
  network.keepConnected(node);
  timeline.run(timeline.nowMs + 3_000);
  return { timeline, network, origin, node, asks };
}

test("simulation: a machine that stands still begins no connection, and finds one at most when it wakes up", () => {
  const { timeline, node, asks } = connected();
  expect(asks.count).toBe(1);
  // The origin gives it up, and would do so with each further link.
  node.freeze(6 * LIMITS.linkSilenceMs);
  timeline.run(timeline.nowMs + 6 * LIMITS.linkSilenceMs + 3_000);
  expect(asks.count).toBe(2);
});

test("simulation: over its next link a deaf node is heard, and hears nothing until it is over", () => {
  const { timeline, network, node, asks } = connected();
  const heard: string[] = [];
  network.trace = (text) => void (text.startsWith("node 0 <") && heard.push(text));
  let isOver = false;
  network.deafen(node, () => isOver);
  timeline.run(timeline.nowMs + 5_000);
  expect([asks.count, heard.length]).toEqual([2, 0]);
  expect(network.silentSinceMs(node)).toBeLessThan(timeline.nowMs);
  isOver = true;
  timeline.run(timeline.nowMs + LIMITS.heartbeatMs);
  expect(heard.length).toBeGreaterThan(0);
  expect(network.silentSinceMs(node)).toBe(Infinity);
});

test("simulation: what waits for a machine that stands still happens in its order, also when that lasts longer", () => {
  const { timeline, node } = connected();
  const namespace = NAMESPACES[0] as NamespaceId; // there are some
  node.freeze(1_000);
  node.setPartial(namespace, true);
  node.freeze(2_000);
  node.setPartial(namespace, false);
  timeline.run(timeline.nowMs + 3_000);
  expect(node.isPartial(namespace)).toBe(false);
});

test("simulation: what came over the only connection there was is all that the disk has not committed", () => {
  const { timeline, origin, node } = connected();
  const [namespace] = NAMESPACES as [NamespaceId];
  let bytesMost = 0;
  for (let ms = 0; ms < 2_000; ms += 1) {
    const bytes = new Uint8Array(ms % 3 === 0 ? 50_000 : 1);
    const put = { kind: "put", key: Key.parse("k"), value: { kind: "inline", bytes } } as const;
    origin.write({ id: 0, namespace, operations: [put], conditions: [], settle: ignored });
    timeline.run(timeline.nowMs + 1);
    expect(node.storingBytes).toBe(node.queuedBytes);
    bytesMost = Math.max(bytesMost, node.storingBytes);
  }
  expect(bytesMost).toBeGreaterThan(0);
});
