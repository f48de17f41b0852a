import { Key, type KvCondition, type KvOperation } from "../../entry.ts";
import { LIMITS } from "../../limits.ts";
import { NamespaceId, Revision } from "../../names.ts";
import { ENTRIES } from "./made-entries.ts";
import type { Promises } from "./promises.ts";
import type { Random } from "./random.ts";
import type { Rhythm, World } from "./seed-kind.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";
import type { Timeline } from "./timeline.ts";

export const NAMESPACES = ["a", "b", "c"].map((digit) => NamespaceId.parse(digit.repeat(32)));
const KEYS = Array.from({ length: 20 }, (_, index) =>
  Key.parse(`k${String(index).padStart(2, "0")}`),
);

/** What the parts of a simulation are given. */
export interface SimulationParts {
  readonly world: World;
  readonly rhythm: Rhythm;
  readonly timeline: Timeline;
  readonly random: Random;
}

export interface SimulatedClientsOptions extends SimulationParts {
  readonly origin: SimulatedOrigin;
  readonly promises: Promises;
  readonly nodes: ReadonlyArray<SimulatedNode>;
}

/** Those who write and read, at nodes and at the origin, and what a node's budget decides. */
export class SimulatedClients {
  readonly #options: SimulatedClientsOptions;
  readonly #random: Random;
  readonly #origin: SimulatedOrigin;
  #lastWrite = 0;

  constructor(options: SimulatedClientsOptions) {
    this.#options = options;
    this.#random = options.random;
    this.#origin = options.origin;
  }

  /** At one of the nodes that run, or at the origin. */
  write(): void {
    const namespace = this.#random.pick(NAMESPACES);
    const count = 1 + this.#random.below(3);
    const operationsAt = (nowMs: number | undefined): KvOperation[] =>
      Array.from({ length: count }, () => this.#operation(nowMs));
    if (this.#random.chance(0.08)) {
      return this.#origin.writeElsewhere(namespace, operationsAt(this.#origin.nowMs()));
    }
    const node = this.#random.pick(this.#options.nodes);
    if (node.isOff || this.#random.chance(0.3)) {
      return this.#writeAtOrigin(namespace, operationsAt(this.#origin.nowMs()));
    }
    // Times to live are counted from what the node takes for the origin's time.
    this.#writeAt(node, namespace, operationsAt(node.clock.originNowMs()));
  }

  read(): void {
    const node = this.#random.pick(this.#options.nodes);
    if (!node.isOff) node.read(this.#random.pick(NAMESPACES), this.#random.pick(KEYS));
  }

  /** A node's budget has become too small for a namespace, or large enough. */
  changeExtent(): void {
    const node = this.#random.pick(this.#options.nodes);
    const namespace = this.#random.pick(NAMESPACES);
    const isPartial = this.#random.chance(0.6);
    if (node.isOff) return;
    node.setPartial(namespace, isPartial);
    const { timeline } = this.#options;
    // To and fro while values are on their way, with writes between.
    if (this.#random.chance(0.5)) {
      timeline.after(30 + this.#random.below(60), () => node.setPartial(namespace, !isPartial));
      timeline.after(150 + this.#random.below(60), () => node.setPartial(namespace, isPartial));
      for (const key of KEYS.slice(3, 11)) {
        timeline.after(this.#random.below(120), () => this.#writeLarger(namespace, key));
      }
    }
    // A few keys are read and written at once, until values have left.
    for (let time = 0; time < 12; time += 1) {
      const key = this.#random.pick(KEYS.slice(0, 3));
      const afterMs = this.#random.below(2_000);
      timeline.after(afterMs, () => node.read(namespace, key));
      timeline.after(afterMs + this.#random.below(300), () => this.#writeLarger(namespace, key));
    }
  }

  /** Many large values at once: more than the window of a node. */
  flood(): void {
    const namespace = this.#random.pick(NAMESPACES);
    const bytes = ENTRIES.uniform(LIMITS.inlineValueBytesMax, this.#random);
    const operations = KEYS.map(
      (key) => ({ kind: "put", key, value: { kind: "inline", bytes } }) as const,
    );
    for (let round = 0; round < 3; round += 1) this.#writeAtOrigin(namespace, operations);
  }

  /** Puts a value that may be absent. */
  #writeLarger(namespace: NamespaceId, key: Key): void {
    const bytes = ENTRIES.uniform(LIMITS.absentValueBytesMin, this.#random);
    const value = { kind: "inline", bytes } as const;
    this.#writeAtOrigin(namespace, [{ kind: "put", key, value }]);
  }

  #writeAtOrigin(namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): void {
    const write = { id: 0, namespace, operations, conditions: [] };
    this.#origin.write({ ...write, settle: () => undefined });
  }

  #writeAt(
    node: SimulatedNode,
    namespace: NamespaceId,
    operations: ReadonlyArray<KvOperation>,
  ): void {
    this.#lastWrite += 1;
    const id = this.#lastWrite;
    const conditions = this.#random.chance(0.3)
      ? this.#conditions(node, namespace, operations)
      : [];
    const keys = operations.map(({ key }) => key);
    this.#options.promises.writes.made({ id, node, namespace, keys, conditions });
    node.write({ id, namespace }, operations, conditions);
  }

  /** That the first key is still as the node shows it. */
  #conditions(
    node: SimulatedNode,
    namespace: NamespaceId,
    operations: ReadonlyArray<KvOperation>,
  ): ReadonlyArray<KvCondition> {
    return operations.slice(0, 1).map(({ key }) => {
      const entry = node.holding(namespace)?.entries.get(key);
      const expiresAt = entry?.put.expiresAt;
      const isHidden = expiresAt !== undefined && node.clock.hides(expiresAt);
      return { key, revision: Revision.parse(isHidden ? 0 : (entry?.revision ?? 0)) };
    });
  }

  #operation(nowMs: number | undefined): KvOperation {
    const key = this.#random.pick(KEYS);
    if (this.#random.chance(0.25)) return { kind: "delete", key };
    const { rhythm } = this.#options;
    // Some are large, so that windows fill.
    const isLarge = this.#options.world === "hostile" && this.#random.chance(rhythm.largeShare);
    const isRemovable = this.#random.chance(0.5);
    const smallBytes = 1 + this.#random.below(8) + (isRemovable ? LIMITS.absentValueBytesMin : 0);
    const length = isLarge ? LIMITS.inlineValueBytesMax : smallBytes;
    const bytes = ENTRIES.uniform(length, this.#random);
    const value = { kind: "inline", bytes } as const;
    if (nowMs === undefined || !this.#random.chance(0.3)) return { kind: "put", key, value };
    const ttlSeconds = this.#random.between(rhythm.ttlSeconds);
    return { kind: "put", key, value, expiresAt: Math.floor(nowMs / 1_000) + ttlSeconds };
  }
}
