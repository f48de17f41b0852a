import { LIMITS } from "../../limits.ts";
import type { NamespaceId } from "../../names.ts";
import type { MessageToOrigin } from "../messages.ts";
import type { ReplicaPosition } from "../replica-exchange.ts";
import { ReadCheck } from "./read-check.ts";
import { historyOf, isStateOf, type Seen } from "./seen-history.ts";
import { summaryOf } from "./entries-summary.ts";
import { ExpiryCheck } from "./expiry-check.ts";
import type { NodeWatcher } from "./node-watcher.ts";
import type { Holding } from "./simulated-disk.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";
import { LAG_MAX_MS, STEADY_MS } from "./steady.ts";
import { UNDER_WAY_BYTES_MAX } from "./stream-check.ts";
import type { Timeline } from "./timeline.ts";
import { WriteCheck } from "./write-check.ts";

// More than this often within two seconds is a storm, not a repair.
const ASKS_MAX = 10;
const ASKS_MS = 2_000;

/** What REPLICATION.md promises, checked against the model after every step of a node. */
export class Promises implements NodeWatcher {
  readonly #timeline: Timeline;
  readonly #origin: SimulatedOrigin;
  /** Only cuts and crashes happen: nothing may ever need a repair, and everybody is up to date. */
  readonly #isSound: boolean;
  readonly #seen = new Map<SimulatedNode, Map<NamespaceId, Seen>>();
  readonly #asks = new Map<SimulatedNode, Map<NamespaceId, number[]>>();
  /** Told of what a node says of itself. */
  trace: ((text: string) => void) | undefined;
  readonly reads: ReadCheck;
  readonly writes: WriteCheck;
  readonly expiry: ExpiryCheck;
  /** When something last had to be repaired, cut or asked for. */
  restlessMs = 0;

  constructor(parts: {
    readonly timeline: Timeline;
    readonly origin: SimulatedOrigin;
    readonly isSound: boolean;
  }) {
    this.#timeline = parts.timeline;
    this.#origin = parts.origin;
    this.#isSound = parts.isSound;
    this.reads = new ReadCheck(parts);
    this.writes = new WriteCheck(parts);
    this.expiry = new ExpiryCheck(parts);
  }

  /** The process of a node ended: nobody waits for its writes, and its reads may have gone back with its disk. */
  nodeEnded(node: SimulatedNode): void {
    this.writes.nodeEnded(node);
    this.#seen.delete(node);
    this.#asks.delete(node);
  }

  asked(node: SimulatedNode, message: MessageToOrigin & { kind: "subscribe" }): void {
    const { namespace } = message;
    this.restlessMs = this.#timeline.nowMs;
    if (node.isPartial(namespace) !== (message.valuesByReference === true)) {
      throw new Error(`${place(node, namespace)}: asked for another extent than it holds`);
    }
    if (node.unfinishedSnapshot(namespace) !== null && message.snapshot === undefined) {
      throw new Error(`${place(node, namespace)}: a snapshot that was begun is not gone on with`);
    }
    const asks = this.#asks.get(node) ?? new Map<NamespaceId, number[]>();
    this.#asks.set(node, asks);
    const sinceMs = this.#timeline.nowMs - ASKS_MS;
    const recent = (asks.get(namespace) ?? []).filter((ms) => ms > sinceMs);
    asks.set(namespace, [...recent, this.#timeline.nowMs]);
    if (recent.length < ASKS_MAX) return;
    throw new Error(`${place(node, namespace)}: asked for ${recent.length + 1} times in a row`);
  }

  repaired(node: SimulatedNode, text: string): void {
    this.trace?.(`node ${node.number}   repairs: ${text}`);
    this.restlessMs = this.#timeline.nowMs;
    if (!this.#isSound) return;
    throw new Error(`node ${node.number}: a repair where nothing is wrong: ${text}`);
  }

  cut(node: SimulatedNode, reason: string): void {
    this.trace?.(`node ${node.number}   cuts: ${reason}`);
    this.restlessMs = this.#timeline.nowMs;
    // It was silent for long, or more is under way than may be sent over it; or it has ended already.
    const linkMs = this.#timeline.nowMs - node.connectedSinceMs;
    const isYoung = linkMs >= 0 && linkMs <= LIMITS.linkSilenceMs;
    if (isYoung && node.queuedBytes <= LIMITS.windowBytesMax) {
      throw new Error(`node ${node.number}: cuts a link of ${linkMs} ms for nothing: ${reason}`);
    }
    if (!this.#isSound) return;
    throw new Error(`node ${node.number}: a cut where nothing is wrong: ${reason}`);
  }

  /** What is held is wrong, however that came to be: asking for the same change again would not mend it. */
  damageFound(node: SimulatedNode, namespace: NamespaceId): void {
    if (!node.wanted.has(namespace) || node.position(namespace)?.repairing != null) return;
    throw new Error(`${place(node, namespace)}: what it holds is wrong, and is not replaced`);
  }

  readonly readEnded: NodeWatcher["readEnded"] = (node, read) => this.reads.check(node, read);
  readonly settled: NodeWatcher["settled"] = (...ended) => this.writes.settled(...ended);
  readonly read: NodeWatcher["read"] = (node) => this.expiry.check(node);

  changed(node: SimulatedNode): void {
    const seen = this.#seen.get(node) ?? new Map<NamespaceId, Seen>();
    this.#seen.set(node, seen);
    for (const namespace of this.#origin.namespaces) {
      this.#checkHolding(node, namespace, seen);
    }
    if (node.storingBytes > UNDER_WAY_BYTES_MAX) {
      throw new Error(`node ${node.number}: holds ${node.storingBytes} bytes that are not stored`);
    }
    this.writes.changed(node);
  }

  /** Nothing is missing, nothing is too much, nobody waits; checked when all is calm. */
  checkConverged(nodes: ReadonlyArray<SimulatedNode>): void {
    for (const node of nodes) {
      for (const namespace of this.#origin.namespaces) {
        const text = this.#unrest(node, namespace);
        if (text !== undefined) throw new Error(`${place(node, namespace)}: ${text}`);
      }
    }
    this.writes.checkEnded();
  }

  isConverged(nodes: ReadonlyArray<SimulatedNode>): boolean {
    const { namespaces } = this.#origin;
    const isCalm = (node: SimulatedNode): boolean =>
      namespaces.every((namespace) => this.#unrest(node, namespace) === undefined);
    return this.writes.areEnded && nodes.every(isCalm);
  }

  /** What is not yet as it should end; `undefined` when all is. */
  #unrest(node: SimulatedNode, namespace: NamespaceId): string | undefined {
    const position = node.position(namespace);
    if (!node.wanted.has(namespace) || this.#isGone(namespace)) {
      if (node.namespacesOnDisk().includes(namespace)) return "is on a disk where it should not be";
      const isKnown = position !== undefined && position.standing !== "gone";
      return isKnown ? `is ${position.standing}, though it is gone` : undefined;
    }
    const history = this.#origin.history(namespace);
    const holding = node.holding(namespace);
    if (holding?.revision !== history.revision) {
      return `is at ${holding?.revision}, not at ${history.revision}`;
    }
    if (holding.isDamaged || !isStateOf(history, holding)) return "shows another state";
    const { isHeavy, absent } = summaryOf(holding.entries);
    if (node.isPartial(namespace) ? isHeavy : absent.length > 0)
      return "has other values than it should";
    if (position !== undefined && position.repairing !== null) return "is still being repaired";
    if (position?.standing !== "following") return `is ${position?.standing}`;
    const lagMs = this.#timeline.nowMs - (node.clock.momentOf(position.freshMs) ?? -Infinity);
    if (lagMs > LAG_MAX_MS) return `says that it lags by ${lagMs} ms`;
    const timeLagMs = this.#origin.nowMs() - (node.clock.originNowMs() ?? -Infinity);
    return timeLagMs > LAG_MAX_MS ? `is ${timeLagMs} ms behind the origin's time` : undefined;
  }

  #checkHolding(node: SimulatedNode, namespace: NamespaceId, seen: Map<NamespaceId, Seen>): void {
    const holding = node.holding(namespace);
    const position = node.position(namespace);
    const freshMs = node.clock.momentOf(position?.freshMs ?? null);
    const before = seen.get(namespace);
    this.#checkLag(node, namespace, freshMs);
    if (position !== undefined && position.repairing !== null) this.#checkRepair(node, position);
    if (holding === undefined) {
      seen.delete(namespace);
      if (before === undefined || !node.wanted.has(namespace) || this.#isGone(namespace)) return;
      throw new Error(`${place(node, namespace)}: is gone, and nobody removed it`);
    }
    const histories = this.#origin.histories(namespace);
    const of = histories.length;
    if (before?.holding === holding && before.freshMs === freshMs && before.of === of) return;
    const where = place(node, namespace);
    const history = historyOf(holding, { histories, before, where });
    seen.set(namespace, { holding, freshMs, history, of });
    if (freshMs !== null) this.#checkFreshness(holding, { namespace, freshMs, where });
  }

  /** What a node says of its freshness is true. */
  #checkFreshness(
    holding: Holding,
    parts: { readonly namespace: NamespaceId; readonly freshMs: number; readonly where: string },
  ): void {
    const { namespace, freshMs, where } = parts;
    const { revision } = holding;
    const history = this.#origin.history(namespace);
    const promised = history.revisionAt(freshMs);
    if (revision < promised) {
      throw new Error(`${where}: says ${promised} was seen, shows ${revision}`);
    }
    if (freshMs > this.#origin.restoredMs && !isStateOf(history, holding)) {
      throw new Error(`${where}: says that it is fresh, shows ${revision} of another history`);
    }
  }

  /** All that is held is replaced only for a reason, and its age is unknown while it is of another history. */
  #checkRepair(node: SimulatedNode, position: ReplicaPosition): void {
    const { namespace, repairing, freshMs } = position;
    const isOneHistory = this.#origin.histories(namespace).length === 1;
    const hasFlipped = node.hasFlipped(namespace);
    if (repairing === "damaged" && !hasFlipped) {
      throw new Error(`${place(node, namespace)}: replaces what no disk has changed`);
    }
    if (repairing === "other-history" && isOneHistory && !hasFlipped) {
      throw new Error(`${place(node, namespace)}: replaces what no restore has changed`);
    }
    if (repairing === "other-history" && freshMs !== null) {
      throw new Error(`${place(node, namespace)}: knows the age of what is of another history`);
    }
  }

  /** In a sound world whoever has been connected for a while is up to date, and knows it. */
  #checkLag(node: SimulatedNode, namespace: NamespaceId, freshMs: number | null): void {
    const { nowMs } = this.#timeline;
    const wantedMs = node.wanted.get(namespace) ?? Infinity;
    const steadyMs = Math.max(node.steadySinceMs, wantedMs);
    if (!this.#isSound || nowMs - steadyMs < STEADY_MS) return;
    if (this.#isGone(namespace)) return;
    const lagMs = nowMs - (freshMs ?? -Infinity);
    if (lagMs > LAG_MAX_MS) {
      throw new Error(`${place(node, namespace)}: lags by ${lagMs} ms where nothing is wrong`);
    }
  }

  #isGone(namespace: NamespaceId): boolean {
    return this.#origin.history(namespace).isDeleted;
  }
}

function place(node: SimulatedNode, namespace: NamespaceId): string {
  return `node ${node.number}, namespace ${namespace[0]}`;
}
