import { Key, type KvCondition, type KvOperation } from "../../entry.ts";
import { LIMITS } from "../../limits.ts";
import { NamespaceId, Revision } from "../../names.ts";
import { ENTRIES } from "./made-entries.ts";
import { Promises } from "./promises.ts";
import { Random } from "./random.ts";
import { SimulatedNetwork } from "./simulated-network.ts";
import { SimulatedNode } from "./simulated-node.ts";
import type { ValueSource } from "./simulated-read.ts";
import { SimulatedOrigin } from "./simulated-origin.ts";
import { Timeline } from "./timeline.ts";

const NAMESPACES = ["a", "b", "c"].map((digit) => NamespaceId.parse(digit.repeat(32)));
const KEYS = Array.from({ length: 20 }, (_, index) =>
  Key.parse(`k${String(index).padStart(2, "0")}`),
);
const NODE_COUNT = 3;
// Long enough for every deadline of the protocol to pass several times.
const CHAOS_MS = 60_000;
// Longer than the slowest repair: a stalled window is cut after half a minute.
const CALM_MS = 60_000;
/** Nothing may be left to do this long after all has come to its end. */
const QUIET_MS = 3_000;

/**
 * `hostile`: messages are lost, repeated, reordered and damaged, links go silent in one direction or both,
 * disks are slow, full, lose what they had not flushed, or change a bit, machines stand still, and the origin
 * starts with an older copy of all that it had. `sound`: links are cut and processes killed, but whatever
 * arrives is as it was sent; then nothing may ever need a repair. In both, clocks are set.
 */
export type World = "hostile" | "sound";

// `clock`: the wall clock of a node or of the origin is set.
const MILD = ["cut", "cut", "kill", "toggle", "toggle", "clock"] as const;
// `flip`: a node's disk changes a bit. `restore`: the origin starts with an older copy of all that it had.
const STORED = ["flip", "flip", "restore"] as const;
const HARD = [
  "silence",
  "silence",
  "damage",
  "power",
  "freeze",
  "slow",
  "full",
  ...STORED,
] as const;
type Fault = (typeof MILD)[number] | (typeof HARD)[number];

/** What a run did; for those who want to know that it did enough. */
export interface SimulationReport {
  readonly world: World;
  readonly commits: number;
  readonly acknowledged: number;
  /** Reads that were answered, and those of them whose value had to be fetched. */
  readonly reads: number;
  readonly fetchedReads: number;
  readonly faults: number;
  /** How much time passed in it. */
  readonly simulatedMs: number;
  /** The same for the same seed, and hardly for another. */
  readonly fingerprint: number;
}

/** Every third seed is of a sound world. */
export function worldOf(seed: number): World {
  return seed % 3 === 0 ? "sound" : "hostile";
}

/**
 * One origin and some nodes through a minute in which everything fails that can, and then until it is calm.
 * Throws at the first broken promise of REPLICATION.md, with the seed that shows it again. `trace` is told
 * of all that happens; that changes nothing.
 */
export function simulate(seed: number, trace?: (text: string) => void): SimulationReport {
  const simulation = new Simulation(seed, trace);
  try {
    return simulation.run();
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    const where = `seed ${seed} (${worldOf(seed)}), at ${simulation.nowMs} ms`;
    throw new Error(`${where}: ${what}`, { cause });
  }
}

class Simulation {
  readonly #world: World;
  readonly #random: Random;
  readonly #timeline = new Timeline();
  readonly #origin: SimulatedOrigin;
  readonly #network: SimulatedNetwork;
  readonly #promises: Promises;
  readonly #nodes: ReadonlyArray<SimulatedNode>;
  readonly #startMs: number;
  readonly #trace: ((text: string) => void) | undefined;
  #isCalm = false;
  #lastWrite = 0;
  #faults = 0;

  constructor(seed: number, trace?: (text: string) => void) {
    this.#world = worldOf(seed);
    this.#random = new Random(seed);
    this.#startMs = this.#timeline.nowMs;
    const parts = { timeline: this.#timeline, random: this.#random };
    const isSound = this.#world === "sound";
    this.#origin = new SimulatedOrigin(NAMESPACES, { ...parts, isSound });
    this.#promises = new Promises({ timeline: this.#timeline, origin: this.#origin, isSound });
    this.#network = new SimulatedNetwork(this.#origin, parts);
    this.#promises.network = this.#network;
    const nodeParts = {
      ...parts,
      namespaces: NAMESPACES,
      watcher: this.#promises,
      valueOf: ({ namespace, key, hash }: Parameters<ValueSource>[0]) =>
        this.#origin.valueOf(namespace, key, hash),
    };
    this.#nodes = Array.from(
      { length: NODE_COUNT },
      (_, number) => new SimulatedNode(number, nodeParts),
    );
    if (isSound) this.#endFaults();
    if (trace === undefined) return;
    this.#trace = (text) => trace(`${this.nowMs} ms  ${text}`);
    this.#network.trace = this.#trace;
    this.#promises.trace = this.#trace;
  }

  get nowMs(): number {
    return this.#timeline.nowMs - this.#startMs;
  }

  run(): SimulationReport {
    for (const node of this.#nodes) this.#network.keepConnected(node);
    this.#act();
    this.#timeline.run(this.#startMs + CHAOS_MS);
    this.#isCalm = true;
    this.#trace?.("all faults end");
    this.#endFaults();
    this.#timeline.run(this.#startMs + CHAOS_MS + CALM_MS, () => this.#isQuiet());
    this.#promises.checkConverged(this.#nodes);
    if (!this.#isQuiet()) throw new Error("all have converged, and still ask, repair or cut");
    return {
      world: this.#world,
      commits: this.#origin.commits,
      acknowledged: this.#promises.acknowledged,
      reads: this.#promises.reads.answered,
      fetchedReads: this.#promises.reads.fetched,
      faults: this.#faults + this.#network.faults,
      simulatedMs: this.nowMs,
      fingerprint: this.#random.next(),
    };
  }

  #isQuiet(): boolean {
    const sinceMs = this.#timeline.nowMs - QUIET_MS;
    return this.#promises.restlessMs < sinceMs && this.#promises.isConverged(this.#nodes);
  }

  /** Something happens every now and then, until it is calm. */
  #act(): void {
    if (this.#isCalm) return;
    if (this.#random.chance(0.2)) this.#read();
    else if (this.#random.chance(0.03)) this.#changeExtent();
    else if (this.#random.chance(0.9)) this.#write();
    else this.#break();
    // Now and then right after another, while that is still on its way.
    const delayMs = this.#random.below(this.#random.chance(0.4) ? 20 : 300);
    this.#timeline.after(delayMs, () => this.#act());
  }

  #write(): void {
    this.#writeTo(this.#random.pick(NAMESPACES));
  }

  #writeTo(namespace: NamespaceId): void {
    const count = 1 + this.#random.below(3);
    const operationsAt = (nowMs: number | undefined): KvOperation[] =>
      Array.from({ length: count }, () => this.#operation(nowMs));
    if (this.#random.chance(0.08)) {
      return this.#origin.writeElsewhere(namespace, operationsAt(this.#origin.nowMs()));
    }
    if (this.#random.chance(0.3)) {
      const operations = operationsAt(this.#origin.nowMs());
      const write = { id: 0, namespace, operations, conditions: [] };
      return this.#origin.write({ ...write, settle: () => undefined });
    }
    const node = this.#random.pick(this.#nodes);
    // Times to live are counted from what the node takes for the origin's time.
    this.#writeAt(node, namespace, operationsAt(node.originNowMs()));
  }

  #read(): void {
    this.#random.pick(this.#nodes).read(this.#random.pick(NAMESPACES), this.#random.pick(KEYS));
  }

  /** A node's budget has become too small for a namespace, or large enough. */
  #changeExtent(): void {
    const node = this.#random.pick(this.#nodes);
    const namespace = this.#random.pick(NAMESPACES);
    const isPartial = this.#random.chance(0.6);
    node.setPartial(namespace, isPartial);
    // To and fro while values are on their way, with writes between.
    if (this.#random.chance(0.5)) {
      this.#timeline.after(30 + this.#random.below(60), () =>
        node.setPartial(namespace, !isPartial),
      );
      this.#timeline.after(150 + this.#random.below(60), () =>
        node.setPartial(namespace, isPartial),
      );
      for (const key of KEYS.slice(3, 11)) {
        this.#timeline.after(this.#random.below(120), () => this.#writeLarger(namespace, key));
      }
    }
    // A few keys are read and written at once, until values have left.
    for (let time = 0; time < 12; time += 1) {
      const key = this.#random.pick(KEYS.slice(0, 3));
      const afterMs = this.#random.below(2_000);
      this.#timeline.after(afterMs, () => node.read(namespace, key));
      this.#timeline.after(afterMs + this.#random.below(300), () =>
        this.#writeLarger(namespace, key),
      );
    }
  }

  /** Puts a value that may be absent. */
  #writeLarger(namespace: NamespaceId, key: Key): void {
    const bytes = ENTRIES.uniform(LIMITS.absentValueBytesMin, this.#random);
    const value = { kind: "inline", bytes } as const;
    const operations = [{ kind: "put", key, value } as const];
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
    this.#promises.writeMade({ id, node, namespace, keys, conditions });
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
      const isHidden = expiresAt !== undefined && node.hides(expiresAt);
      return { key, revision: Revision.parse(isHidden ? 0 : (entry?.revision ?? 0)) };
    });
  }

  #operation(nowMs: number | undefined): KvOperation {
    const key = this.#random.pick(KEYS);
    if (this.#random.chance(0.25)) return { kind: "delete", key };
    // Some are large, so that windows fill.
    const isLarge = this.#world === "hostile" && this.#random.chance(0.05);
    const isRemovable = this.#random.chance(0.5);
    const smallBytes = 1 + this.#random.below(8) + (isRemovable ? LIMITS.absentValueBytesMin : 0);
    const length = isLarge ? LIMITS.inlineValueBytesMax : smallBytes;
    const bytes = ENTRIES.uniform(length, this.#random);
    const value = { kind: "inline", bytes } as const;
    if (nowMs === undefined || !this.#random.chance(0.3)) return { kind: "put", key, value };
    const expiresAt = Math.floor(nowMs / 1_000) + 1 + this.#random.below(15);
    return { kind: "put", key, value, expiresAt };
  }

  #break(): void {
    this.#faults += 1;
    const node = this.#random.pick(this.#nodes);
    const faults = this.#world === "sound" ? MILD : [...MILD, ...HARD];
    const fault = this.#random.pick<Fault>(faults);
    this.#trace?.(`node ${node.number}   ${fault}`);
    const below = (end: number): number => this.#random.below(end);
    switch (fault) {
      case "cut":
        return this.#network.cut(node);
      case "kill":
        return below(4) === 0 ? this.#killOrigin() : this.#end(node, () => node.crash());
      case "power":
        this.#promises.timeLost(node);
        return this.#end(node, () => node.cutPower());
      case "toggle":
        return this.#toggle(node);
      case "clock":
        return below(3) === 0
          ? this.#origin.setClock(below(40_000) - 20_000)
          : node.setClock(below(7_200_000) - 3_600_000);
      case "silence":
        return this.#network.silence(node, below(25_000));
      case "damage":
        return this.#network.damage(node, below(3_000));
      case "freeze":
        return node.freeze(below(15_000));
      case "slow":
        node.slowDisk(below(40_000));
        // More than its window is on its way.
        return below(3) === 0 ? this.#flood() : undefined;
      case "full":
        return node.fillDisk(below(5_000));
      case "flip":
        return node.damage(this.#random.pick(NAMESPACES));
      case "restore":
        return this.#restoreOrigin(below(20_000));
    }
  }

  /** Writes many large values at once. */
  #flood(): void {
    const namespace = this.#random.pick(NAMESPACES);
    const bytes = ENTRIES.uniform(LIMITS.inlineValueBytesMax, this.#random);
    const operations = KEYS.map(
      (key) => ({ kind: "put", key, value: { kind: "inline", bytes } }) as const,
    );
    for (let round = 0; round < 3; round += 1) {
      const write = { id: 0, namespace, operations, conditions: [] };
      this.#origin.write({ ...write, settle: () => undefined });
    }
  }

  #toggle(node: SimulatedNode): void {
    if (this.#random.chance(0.02))
      return this.#origin.deleteNamespace(this.#random.pick(NAMESPACES));
    const unwanted = NAMESPACES.filter((namespace) => !node.wanted.has(namespace));
    // What is not wanted comes back soon: more is to be seen of what is.
    node.toggle(this.#random.pick(unwanted.length > 0 ? unwanted : NAMESPACES));
  }

  #end(node: SimulatedNode, end: () => void): void {
    this.#network.cut(node);
    this.#promises.nodeEnded(node);
    end();
  }

  #killOrigin(): void {
    this.#origin.crash();
    for (const node of this.#nodes) this.#network.cut(node);
  }

  /** It starts with a copy of all that it had so long ago. */
  #restoreOrigin(ageMs: number): void {
    this.#origin.restore(this.#timeline.nowMs - ageMs);
    for (const node of this.#nodes) this.#network.cut(node);
  }

  #endFaults(): void {
    this.#network.endFaults();
    this.#origin.isFaulty = false;
    for (const node of this.#nodes) node.endFaults();
  }
}
