import { Key, type KvOperation } from "../../entry.ts";
import { NamespaceId } from "../../names.ts";
import { encodeOperation } from "../../record-codec.ts";
import type { WriteResult } from "../pending-writes.ts";
import { Random } from "./random.ts";
import { sameEntries, type SimulatedHistory } from "./simulated-history.ts";
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

interface SimulatedWrite {
  readonly node: SimulatedNode;
  readonly namespace: NamespaceId;
  readonly operations: ReadonlyArray<KvOperation>;
}

interface SeenHolding {
  readonly holding: Holding;
  /** The first history that it can be of, and of how many. */
  readonly history: number;
  readonly of: number;
  /** It can also be of the last one. */
  readonly isCurrent: boolean;
}

// `damage`: a node's disk changes a bit. `restore`: the origin starts with an older copy of all that it had.
const FAULTS = {
  sound: ["cut", "cut", "silence", "crash"],
  hostile: ["cut", "cut", "cut", "silence", "silence", "crash", "crash", "damage", "restore"],
} as const;

class Simulation {
  readonly #random: Random;
  readonly #timeline = new Timeline();
  readonly #origin: SimulatedOrigin;
  readonly #network: SimulatedNetwork;
  readonly #nodes: ReadonlyArray<SimulatedNode>;
  readonly #world: SimulationOptions["world"];
  /** Who made each write, and where: what its end is checked against. */
  readonly #writes = new Map<number, SimulatedWrite>();
  /** What was last seen on each node's disk, and of which history of the origin: neither ever goes back. */
  readonly #seen = new Map<string, SeenHolding>();
  #isCalm = false;
  #lastWrite = 0;
  #acknowledged = 0;
  #faults = 0;

  constructor({ seed, world }: SimulationOptions) {
    this.#random = new Random(seed);
    this.#world = world;
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
    return {
      commits: this.#origin.commits,
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
    this.#writes.set(this.#lastWrite, { node, namespace, operations });
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
    switch (this.#random.pick(FAULTS[this.#world])) {
      case "cut":
        return this.#network.cut(node);
      case "silence":
        return this.#network.silence(node, this.#random.below(15_000));
      case "damage":
        return node.damage(this.#random.pick(NAMESPACES));
      case "restore":
        return this.#origin.restore(this.#timeline.nowMs - this.#random.below(20_000));
      default:
        this.#network.cut(node);
        for (const [id, write] of this.#writes) if (write.node === node) this.#writes.delete(id);
        return node.crash();
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
    const { node, namespace, operations } = write;
    const held = node.holdings.get(namespace);
    if (held === undefined || held.revision < result.revision) {
      const revision = held?.revision ?? "nothing";
      throw new Error(
        `write ${id} became revision ${result.revision}, but the node holds ${revision}`,
      );
    }
    const isInWhatIsHeld = this.#origin.histories(namespace).some((history) => {
      const { operation } = history.records[result.revision - 1] ?? {};
      return isStateOf(history, held) && isSameOperation(operation, operations.at(-1));
    });
    if (isInWhatIsHeld) return;
    throw new Error(
      `write ${id} was acknowledged as revision ${result.revision}, which is another`,
    );
  }

  #check(): void {
    for (const [index, node] of this.#nodes.entries()) {
      for (const [namespace, holding] of node.holdings) {
        const place = `node ${index}, namespace ${namespace[0]}`;
        const histories = this.#origin.histories(namespace);
        const seen = this.#seen.get(place);
        if (seen?.holding !== holding || seen.of !== histories.length) {
          this.#seen.set(place, this.#checkHolding(place, histories, holding));
        }
        this.#checkFreshness(place, namespace, node);
      }
    }
  }

  /** Promise: a state of the history, never an earlier one than before, and never of a replaced history again. */
  #checkHolding(
    place: string,
    histories: ReadonlyArray<SimulatedHistory>,
    holding: Holding,
  ): SeenHolding {
    const { revision } = holding;
    if (!histories.some((history) => isStateOf(history, holding))) {
      throw new Error(`${place}: what is held is not the state as of revision ${revision}`);
    }
    const seen = this.#seen.get(place);
    const first = seen?.history ?? 0;
    const history = histories.findIndex((each, index) => {
      const isLater = index > first || revision >= (seen?.holding.revision ?? 0);
      return index >= first && isLater && isStateOf(each, holding);
    });
    if (history === -1) {
      throw new Error(`${place}: went back from ${seen?.holding.revision} to ${revision}`);
    }
    const last = histories.at(-1);
    const isCurrent = last !== undefined && isStateOf(last, holding);
    return { holding, history, of: histories.length, isCurrent };
  }

  /** Promise: what a node says of its freshness is true. */
  #checkFreshness(place: string, namespace: NamespaceId, node: SimulatedNode): void {
    const freshMs = node.position(namespace)?.freshMs ?? null;
    const seen = this.#seen.get(place);
    if (freshMs === null || seen === undefined) return;
    const atMs = freshMs - node.clockSkewMs;
    const promised = this.#origin.history(namespace).revisionAt(atMs);
    const { revision } = seen.holding;
    if (!seen.isCurrent && atMs > this.#origin.restoredMs) {
      throw new Error(`${place}: says that it is fresh, but holds ${revision} of another history`);
    }
    if (revision >= promised) return;
    throw new Error(`${place}: says it is as fresh as ${promised}, but holds ${revision}`);
  }

  #checkConverged(): void {
    for (const [index, node] of this.#nodes.entries()) {
      for (const namespace of NAMESPACES) {
        const place = `node ${index}, namespace ${namespace[0]}`;
        const history = this.#origin.history(namespace);
        const holding = node.holdings.get(namespace);
        const position = node.position(namespace);
        if (holding?.revision !== history.revision) {
          throw new Error(`${place}: ended at ${holding?.revision}, not at ${history.revision}`);
        }
        if (holding.isDamaged || !isStateOf(history, holding)) {
          throw new Error(`${place}: ended with another state than the origin`);
        }
        const lagMs = node.nowMs - (position?.freshMs ?? -Infinity);
        if (lagMs > 2_000) throw new Error(`${place}: says that it lags by ${lagMs} ms when calm`);
        if (position?.repairing != null) throw new Error(`${place}: is still being repaired`);
      }
    }
    if (this.#writes.size > 0) throw new Error(`${this.#writes.size} writes never ended`);
  }
}

/** Whether what is held is what the history had led to; of a damaged disk, whether it was. */
function isStateOf(
  history: SimulatedHistory,
  { revision, digest, entries, isDamaged }: Holding,
): boolean {
  const state = history.stateAt(revision);
  if (state?.digest !== digest) return false;
  return isDamaged || sameEntries(state.entries, entries);
}

function isSameOperation(left: KvOperation | undefined, right: KvOperation | undefined): boolean {
  if (left === undefined || right === undefined) return false;
  return encodeOperation(left).equals(encodeOperation(right));
}
