import { Key, type KvOperation } from "../../entry.ts";
import { NamespaceId } from "../../names.ts";
import type { WriteResult } from "../pending-writes.ts";
import { Random } from "./random.ts";
import { sameState } from "./simulated-history.ts";
import { SimulatedNetwork } from "./simulated-network.ts";
import { SimulatedNode, type Holding } from "./simulated-node.ts";
import { SimulatedOrigin } from "./simulated-origin.ts";
import { Timeline } from "./timeline.ts";

const NAMESPACES = ["a", "b", "c"].map((digit) => NamespaceId.parse(digit.repeat(32)));
const KEYS = Array.from({ length: 16 }, (_, index) => Key.parse(`k${index}`));
const NODE_COUNT = 3;
// Long enough for every deadline of the protocol to pass several times.
const CHAOS_MS = 60_000;
// Longer than the slowest repair: a stalled window is cut after half a minute.
const CALM_MS = 60_000;

/** What a run did; for those who want to know that it did enough. */
export interface SimulationOptions {
  readonly seed: number;
  /**
   * `hostile`: messages are lost, repeated, reordered and damaged, disks fail. `sound`: links are cut and
   * nodes crash, but whatever arrives is as it was sent; then nothing may ever need a repair.
   */
  readonly world: "hostile" | "sound";
}

export interface SimulationReport {
  readonly commits: number;
  readonly acknowledged: number;
  readonly faults: number;
}

/**
 * One origin and some nodes through a minute in which everything fails that can, and then a calm one. Throws at the first broken promise of REPLICATION.md, with
 * the seed that shows it again.
 */
export function simulate(options: SimulationOptions): SimulationReport {
  const simulation = new Simulation(options);
  try {
    return simulation.run();
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`simulation ${JSON.stringify(options)}: ${what}`, { cause });
  }
}

class Simulation {
  readonly #random: Random;
  readonly #timeline = new Timeline();
  readonly #origin: SimulatedOrigin;
  readonly #network: SimulatedNetwork;
  readonly #nodes: ReadonlyArray<SimulatedNode>;
  /** Who made each write, and where: what its end is checked against. */
  readonly #writes = new Map<number, { node: SimulatedNode; namespace: NamespaceId }>();
  /** What was last seen on each node's disk: it never goes back. */
  readonly #seen = new Map<string, Holding>();
  #isCalm = false;
  #lastWrite = 0;
  #acknowledged = 0;
  #faults = 0;

  constructor({ seed, world }: SimulationOptions) {
    this.#random = new Random(seed);
    const parts = { timeline: this.#timeline, random: this.#random };
    this.#origin = new SimulatedOrigin(NAMESPACES, parts);
    this.#network = new SimulatedNetwork(this.#origin, parts);
    this.#nodes = Array.from({ length: NODE_COUNT }, () => {
      const node: SimulatedNode = new SimulatedNode({
        ...parts,
        namespaces: NAMESPACES,
        onSettled: (id, result) => this.#onSettled(id, result),
        onRepair: (text) => {
          if (world === "sound") throw new Error(`a repair where nothing is wrong: ${text}`);
        },
      });
      return node;
    });
    if (world === "sound") this.#endFaults();
  }

  run(): SimulationReport {
    for (const node of this.#nodes) this.#network.keepConnected(node);
    this.#act();
    const startMs = this.#timeline.nowMs;
    this.#timeline.run(startMs + CHAOS_MS, () => this.#check());
    this.#isCalm = true;
    this.#endFaults();
    this.#timeline.run(startMs + CHAOS_MS + CALM_MS, () => this.#check());
    this.#checkConverged();
    const commits = [...this.#origin.histories.values()].map(({ revision }) => revision);
    return {
      commits: commits.reduce((sum, each) => sum + each, 0),
      acknowledged: this.#acknowledged,
      faults: this.#faults + this.#network.faults,
    };
  }

  /** Something happens every now and then, until it is calm. */
  #act(): void {
    if (this.#isCalm) return;
    if (this.#random.chance(0.9)) this.#write();
    else this.#break();
    this.#timeline.after(this.#random.below(200), () => this.#act());
  }

  #write(): void {
    const namespace = this.#random.pick(NAMESPACES);
    const operations = Array.from({ length: 1 + this.#random.below(3) }, () => this.#operation());
    if (this.#random.chance(0.3)) return void this.#origin.commit(namespace, operations);
    const node = this.#random.pick(this.#nodes);
    this.#lastWrite += 1;
    this.#writes.set(this.#lastWrite, { node, namespace });
    node.write(this.#lastWrite, namespace, operations);
  }

  #operation(): KvOperation {
    const key = this.#random.pick(KEYS);
    if (this.#random.chance(0.25)) return { kind: "delete", key };
    const bytes = Buffer.alloc(1 + this.#random.below(8), this.#random.below(256));
    return { kind: "put", key, value: { kind: "inline", bytes } };
  }

  #break(): void {
    this.#faults += 1;
    const node = this.#random.pick(this.#nodes);
    const fault = this.#random.pick(["cut", "cut", "silence", "crash"]);
    if (fault === "cut") {
      this.#network.cut(node);
    } else if (fault === "silence") {
      this.#network.silence(node, this.#random.below(15_000));
    } else {
      this.#network.cut(node);
      for (const [id, write] of this.#writes) if (write.node === node) this.#writes.delete(id);
      node.crash();
    }
  }

  #endFaults(): void {
    this.#network.isFaulty = false;
    this.#origin.isFaulty = false;
    for (const node of this.#nodes) node.isDiskFaulty = false;
  }

  /** Promise: what is acknowledged is in the history, and this node's reads see it. */
  #onSettled(id: number, result: WriteResult): void {
    const write = this.#writes.get(id);
    this.#writes.delete(id);
    if (write === undefined || result.kind === "failed") return;
    this.#acknowledged += 1;
    const { node, namespace } = write;
    const held = node.holdings.get(namespace)?.revision ?? -1;
    if (result.revision > this.#origin.history(namespace).revision) {
      throw new Error(`write ${id} was acknowledged as revision ${result.revision}, which is none`);
    }
    if (held < result.revision) {
      throw new Error(`write ${id} became revision ${result.revision}, but the node holds ${held}`);
    }
  }

  #check(): void {
    for (const [index, node] of this.#nodes.entries()) {
      for (const [namespace, holding] of node.holdings) {
        const place = `node ${index}, namespace ${namespace[0]}`;
        this.#checkHolding(place, namespace, holding);
        const history = this.#origin.history(namespace);
        const freshMs = node.freshMs(namespace);
        const promised = freshMs === null ? 0 : history.revisionAt(freshMs - node.clockSkewMs);
        if (holding.revision < promised) {
          throw new Error(
            `${place}: says it is as fresh as ${promised}, but holds ${holding.revision}`,
          );
        }
      }
    }
  }

  #checkHolding(place: string, namespace: NamespaceId, holding: Holding): void {
    const seen = this.#seen.get(place);
    if (seen === holding) return;
    this.#seen.set(place, holding);
    const { revision, state } = holding;
    const expected = this.#origin.history(namespace).states[revision];
    if (expected === undefined || !sameState(expected, state)) {
      throw new Error(`${place}: what is held is not the state as of revision ${revision}`);
    }
    if (seen !== undefined && revision < seen.revision) {
      throw new Error(`${place}: went back from ${seen.revision} to ${revision}`);
    }
  }

  #checkConverged(): void {
    for (const [index, node] of this.#nodes.entries()) {
      for (const namespace of NAMESPACES) {
        const place = `node ${index}, namespace ${namespace[0]}`;
        const { revision } = this.#origin.history(namespace);
        const held = node.holdings.get(namespace)?.revision;
        if (held !== revision) throw new Error(`${place}: ended at ${held}, not at ${revision}`);
        const lagMs = node.nowMs - (node.freshMs(namespace) ?? -Infinity);
        if (lagMs > 2_000) throw new Error(`${place}: says that it lags by ${lagMs} ms when calm`);
      }
    }
    if (this.#writes.size > 0) throw new Error(`${this.#writes.size} writes never ended`);
  }
}
