import type { Key, KvCondition } from "../../entry.ts";
import { LIMITS } from "../../limits.ts";
import type { NamespaceId } from "../../names.ts";
import type { MessageToOrigin } from "../messages.ts";
import type { WriteResult } from "../pending-writes.ts";
import type { ReplicaPosition } from "../replica-exchange.ts";
import { ReadCheck } from "./read-check.ts";
import { historyOf, isStateOf, type Seen } from "./seen-history.ts";
import { summaryOf } from "./entries-summary.ts";
import type { NodeWatcher } from "./node-watcher.ts";
import type { Holding } from "./simulated-disk.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";
import { UNDER_WAY_BYTES_MAX } from "./stream-check.ts";
import type { Timeline } from "./timeline.ts";

interface PendingWrite {
  readonly id: number;
  readonly node: SimulatedNode;
  readonly namespace: NamespaceId;
  readonly keys: ReadonlyArray<Key>;
  readonly conditions: ReadonlyArray<KvCondition>;
  readonly madeMs: number;
}

/** A write that was acknowledged before its node shows it. */
interface OwedWrite extends PendingWrite {
  readonly revision: number;
}

// More than this often within two seconds is a storm, not a repair.
const ASKS_MAX = 10;
const ASKS_MS = 2_000;
/** By then a node that had nothing to complain of has caught up. */
const STEADY_MS = 3_000;
/** And is never staler than this: some heartbeats, and the time that one takes. */
const LAG_MAX_MS = 2_000;

/** What REPLICATION.md promises, checked against the model after every step of a node. */
export class Promises implements NodeWatcher {
  readonly #timeline: Timeline;
  readonly #origin: SimulatedOrigin;
  /** Only cuts and crashes happen: nothing may ever need a repair, and everybody is up to date. */
  readonly #isSound: boolean;
  readonly #seen = new Map<SimulatedNode, Map<NamespaceId, Seen>>();
  readonly #asks = new Map<SimulatedNode, Map<NamespaceId, number[]>>();
  readonly #pending = new Map<number, PendingWrite>();
  /** Writes of which it was said that they did not happen. */
  readonly #refused: PendingWrite[] = [];
  readonly #conditional: PendingWrite[] = [];
  #owed: OwedWrite[] = [];
  /** The latest expiry of what each node has hidden. */
  readonly #hiddenUpTo = new Map<SimulatedNode, number>();
  network: SimulatedNetwork | undefined;
  /** Told of what a node says of itself. */
  trace: ((text: string) => void) | undefined;
  acknowledged = 0;
  readonly reads: ReadCheck;
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
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  writeMade(write: Omit<PendingWrite, "madeMs">): void {
    const pending = { ...write, madeMs: this.#timeline.nowMs };
    this.#pending.set(write.id, pending);
    if (write.conditions.length > 0) this.#conditional.push(pending);
  }

  /** Its machine may have lost what it knew of the time. */
  timeLost(node: SimulatedNode): void {
    this.#hiddenUpTo.delete(node);
  }

  /** The process of a node ended: nobody waits for its writes, and its reads may have gone back with its disk. */
  nodeEnded(node: SimulatedNode): void {
    for (const [id, write] of this.#pending) if (write.node === node) this.#pending.delete(id);
    this.#owed = this.#owed.filter((write) => write.node !== node);
    this.#seen.delete(node);
    this.#asks.delete(node);
  }

  /** What is acknowledged is in the history as that revision, and this node's reads see it. */
  settled(node: SimulatedNode, id: number, result: WriteResult): void {
    const write = this.#pending.get(id);
    if (write === undefined) throw new Error(`write ${id} ended, and nobody waits for it`);
    this.#pending.delete(id);
    this.trace?.(`node ${node.number}   write ${id} ended: ${JSON.stringify(result)}`);
    if (result.kind === "failed") {
      if (result.code !== "origin_unreachable" && result.code !== "replica_behind") {
        this.#refused.push(write);
      }
      return;
    }
    this.acknowledged += 1;
    const [{ namespace }, { revision }] = [write, result];
    const histories = this.#origin.histories(namespace);
    const made = histories.filter(({ writes }) => writes.get(id) === revision);
    if (made.length === 0) throw new Error(`write ${id} was never made as ${revision}`);
    if (!node.wanted.has(namespace)) return;
    if (result.kind === "durable") {
      this.#owed.push({ ...write, revision });
      return this.#checkOwed(node);
    }
    const holding = node.holding(namespace);
    if (holding === undefined || holding.revision < revision) {
      const shown = holding?.revision ?? "nothing";
      throw new Error(`write ${id} is revision ${revision}, but its node shows ${shown}`);
    }
    if (made.some((history) => isStateOf(history, holding))) return;
    throw new Error(`write ${id} is revision ${revision}, but its node shows another history`);
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

  changed(node: SimulatedNode): void {
    const seen = this.#seen.get(node) ?? new Map<NamespaceId, Seen>();
    this.#seen.set(node, seen);
    for (const namespace of this.#origin.namespaces) {
      this.#checkHolding(node, namespace, seen);
    }
    if (node.storingBytes > UNDER_WAY_BYTES_MAX) {
      throw new Error(`node ${node.number}: holds ${node.storingBytes} bytes that are not stored`);
    }
    this.#checkPending(node);
    this.#checkOwed(node);
  }

  /** All entries expire by one rule: never before the origin's time, never again shown, and soon where all is well. */
  read(node: SimulatedNode): void {
    for (const namespace of node.wanted.keys()) {
      const holding = node.holding(namespace);
      if (holding === undefined) continue;
      for (const expiresAt of summaryOf(holding.entries).expiries) {
        this.#checkExpiry(node, expiresAt);
      }
    }
  }

  #checkExpiry(node: SimulatedNode, expiresAt: number): void {
    const hiddenUpTo = this.#hiddenUpTo.get(node) ?? 0;
    const expiresMs = expiresAt * 1_000;
    if (node.hides(expiresAt)) {
      this.#hiddenUpTo.set(node, Math.max(hiddenUpTo, expiresAt));
      if (expiresMs <= this.#origin.latestMs) return;
      throw new Error(
        `${expiryOf(node, expiresAt)} is hidden when the origin is at ${this.#origin.latestMs}`,
      );
    }
    if (expiresAt <= hiddenUpTo) throw new Error(`${expiryOf(node, expiresAt)} is shown again`);
    const steadyMs = Math.max(node.steadySinceMs, this.#origin.clockSetMs);
    if (!this.#isSound || this.#timeline.nowMs - steadyMs < STEADY_MS) return;
    if (expiresMs + LAG_MAX_MS > this.#origin.nowMs()) return;
    throw new Error(
      `${expiryOf(node, expiresAt)} is shown when the origin is at ${this.#origin.nowMs()}`,
    );
  }

  /** What a node has acknowledged it shows, or its reads wait for it. */
  #checkOwed(node: SimulatedNode): void {
    if (this.#owed.length === 0) return;
    this.#owed = this.#owed.filter((write) => write.node !== node || this.#isOwed(write));
    for (const { id, namespace, keys, revision } of this.#owed.filter(
      (each) => each.node === node,
    )) {
      const waits = node
        .ownWrites(namespace)
        .some((own) => own.revision === revision && keys.every((key) => own.keys.includes(key)));
      if (!waits) throw new Error(`write ${id} was acknowledged, is not shown, and no read waits`);
    }
  }

  #isOwed({ id, node, namespace, revision }: OwedWrite): boolean {
    if (!node.wanted.has(namespace) || this.#isGone(namespace)) return false;
    const holding = node.holding(namespace);
    const made = this.#origin.histories(namespace).filter(({ writes }) => writes.has(id));
    if (made.length === 0 || !this.#origin.history(namespace).writes.has(id)) return false;
    if (holding === undefined || holding.revision < revision) return true;
    return !made.some((history) => isStateOf(history, holding));
  }

  /** Nothing is missing, nothing is too much, nobody waits; checked when all is calm. */
  checkConverged(nodes: ReadonlyArray<SimulatedNode>): void {
    for (const node of nodes) {
      for (const namespace of this.#origin.namespaces) {
        const text = this.#unrest(node, namespace);
        if (text !== undefined) throw new Error(`${place(node, namespace)}: ${text}`);
      }
    }
    if (this.#pending.size > 0) throw new Error(`${this.#pending.size} writes never ended`);
    for (const { id, namespace } of this.#refused) {
      if (!this.#origin.histories(namespace).some(({ writes }) => writes.has(id))) continue;
      throw new Error(`write ${id} was refused, but it was made`);
    }
    for (const write of this.#conditional) this.#checkConditions(write);
  }

  /** A write with conditions was made where they were true, or not at all. */
  #checkConditions({ id, namespace, keys, conditions }: PendingWrite): void {
    for (const { writes, states } of this.#origin.histories(namespace)) {
      const last = writes.get(id);
      if (last === undefined) continue;
      const before = states[last - keys.length]?.entries;
      for (const { key, revision } of conditions) {
        const found = before?.get(key);
        const hasExpired = (found?.put.expiresAt ?? Infinity) * 1_000 <= this.#origin.latestMs;
        if ((found?.revision ?? 0) === revision || (revision === 0 && hasExpired)) continue;
        throw new Error(
          `write ${id} was for revision ${revision}, and replaced ${found?.revision}`,
        );
      }
    }
  }

  isConverged(nodes: ReadonlyArray<SimulatedNode>): boolean {
    const { namespaces } = this.#origin;
    const isCalm = (node: SimulatedNode): boolean =>
      namespaces.every((namespace) => this.#unrest(node, namespace) === undefined);
    return this.#pending.size === 0 && nodes.every(isCalm);
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
    const lagMs = this.#timeline.nowMs - (node.momentOf(position.freshMs) ?? -Infinity);
    if (lagMs > LAG_MAX_MS) return `says that it lags by ${lagMs} ms`;
    const timeLagMs = this.#origin.nowMs() - (node.originNowMs() ?? -Infinity);
    return timeLagMs > LAG_MAX_MS ? `is ${timeLagMs} ms behind the origin's time` : undefined;
  }

  #checkHolding(node: SimulatedNode, namespace: NamespaceId, seen: Map<NamespaceId, Seen>): void {
    const holding = node.holding(namespace);
    const position = node.position(namespace);
    const freshMs = node.momentOf(position?.freshMs ?? null);
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

  /** Every write ends in its time, soon when the link is silent. */
  #checkPending(node: SimulatedNode): void {
    const { nowMs } = this.#timeline;
    for (const write of this.#pending.values()) {
      if (write.node !== node || node.runningSinceMs > write.madeMs) continue;
      const silentSinceMs = this.network?.silentSinceMs(node) ?? Infinity;
      const isSilent = silentSinceMs <= write.madeMs;
      const limitMs = isSilent ? LIMITS.originSilenceMs : LIMITS.writeAnswerMs;
      // Two looks: one falls just before the time is over.
      if (nowMs - write.madeMs <= limitMs + 2 * LIMITS.tickMs) continue;
      throw new Error(`write ${write.id} has no end after ${nowMs - write.madeMs} ms`);
    }
  }

  #isGone(namespace: NamespaceId): boolean {
    return this.#origin.history(namespace).isDeleted;
  }
}

function place(node: SimulatedNode, namespace: NamespaceId): string {
  return `node ${node.number}, namespace ${namespace[0]}`;
}

function expiryOf(node: SimulatedNode, expiresAt: number): string {
  return `node ${node.number}, an entry that expires at ${expiresAt}:`;
}
