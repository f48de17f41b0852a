import type { Key, KvCondition } from "../../entry.ts";
import { LIMITS } from "../../limits.ts";
import type { NamespaceId } from "../../names.ts";
import type { WriteResult } from "../pending-writes.ts";
import { isStateOf } from "./seen-history.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";
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

/** What is promised of writes that are made on a node. */
export class WriteCheck {
  readonly #timeline: Timeline;
  readonly #origin: SimulatedOrigin;
  readonly #pending = new Map<number, PendingWrite>();
  /** Writes of which it was said that they did not happen. */
  readonly #refused: PendingWrite[] = [];
  readonly #conditional: PendingWrite[] = [];
  #owed: OwedWrite[] = [];
  network: SimulatedNetwork | undefined;
  /** Told how each write ended. */
  trace: ((text: string) => void) | undefined;
  acknowledged = 0;

  constructor(parts: { readonly timeline: Timeline; readonly origin: SimulatedOrigin }) {
    this.#timeline = parts.timeline;
    this.#origin = parts.origin;
  }

  /** Whether none waits for its end. */
  get areEnded(): boolean {
    return this.#pending.size === 0;
  }

  made(write: Omit<PendingWrite, "madeMs">): void {
    const pending = { ...write, madeMs: this.#timeline.nowMs };
    this.#pending.set(write.id, pending);
    if (write.conditions.length > 0) this.#conditional.push(pending);
  }

  /** The process of a node ended: nobody waits for its writes. */
  nodeEnded(node: SimulatedNode): void {
    for (const [id, write] of this.#pending) if (write.node === node) this.#pending.delete(id);
    this.#owed = this.#owed.filter((write) => write.node !== node);
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

  /** Something may have changed on a node. */
  changed(node: SimulatedNode): void {
    this.#checkPending(node);
    this.#checkOwed(node);
  }

  /** What was refused was not made, and what has conditions where they were true; checked when all is calm. */
  checkEnded(): void {
    if (this.#pending.size > 0) throw new Error(`${this.#pending.size} writes never ended`);
    for (const { id, namespace } of this.#refused) {
      if (!this.#origin.histories(namespace).some(({ writes }) => writes.has(id))) continue;
      throw new Error(`write ${id} was refused, but it was made`);
    }
    for (const write of this.#conditional) this.#checkConditions(write);
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
    if (!node.wanted.has(namespace) || this.#origin.history(namespace).isDeleted) return false;
    const holding = node.holding(namespace);
    const made = this.#origin.histories(namespace).filter(({ writes }) => writes.has(id));
    if (made.length === 0 || !this.#origin.history(namespace).writes.has(id)) return false;
    if (holding === undefined || holding.revision < revision) return true;
    return !made.some((history) => isStateOf(history, holding));
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
}
