import type { NamespaceId } from "../../names.ts";
import type { Promises } from "./promises.ts";
import { NAMESPACES, type SimulatedClients, type SimulationParts } from "./simulated-clients.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";

// `clock`: the wall clock of a node or of the origin is set.
const MILD = ["cut", "cut", "kill", "toggle", "toggle", "clock"] as const;
const HARD = ["silence", "silence", "damage", "power", "freeze", "slow", "full"] as const;
// `flip`: a node's disk changes a bit. `restore`: the origin starts with an older copy of all that it had.
const STORED = ["flip", "flip", "flip", "restore", "restore"] as const;
type Fault = (typeof MILD | typeof HARD | typeof STORED)[number];

export interface SimulatedFaultsOptions extends SimulationParts {
  readonly origin: SimulatedOrigin;
  readonly network: SimulatedNetwork;
  readonly promises: Promises;
  readonly clients: SimulatedClients;
  readonly nodes: ReadonlyArray<SimulatedNode>;
  readonly trace: ((text: string) => void) | undefined;
}

/** What fails beside messages. */
export class SimulatedFaults {
  readonly #options: SimulatedFaultsOptions;
  readonly #faults: ReadonlyArray<Fault>;
  count = 0;

  constructor(options: SimulatedFaultsOptions) {
    this.#options = options;
    // What is stored stays as it is in half of the seeds: whatever must be replaced there was taken wrongly.
    const stored = options.random.chance(0.5) ? STORED : [];
    this.#faults = options.world === "sound" ? MILD : [...MILD, ...HARD, ...stored];
  }

  /** Breaks something at one of the nodes, or at the origin. */
  break(): void {
    const { random, network, nodes, trace } = this.#options;
    const node = random.pick(nodes);
    const fault = random.pick(this.#faults);
    if (node.isOff && fault !== "flip") return;
    this.count += 1;
    trace?.(`node ${node.number}   ${fault}`);
    switch (fault) {
      case "cut":
        return network.cut(node);
      case "kill":
        return random.below(4) === 0 ? this.#killOrigin() : this.end(node, () => node.crash());
      case "power":
        this.#options.promises.expiry.timeLost(node);
        return this.end(node, () => node.cutPower());
      case "toggle":
        return this.#toggle(node);
      case "clock":
        return this.#setClock(node);
      case "silence":
        return network.silence(node, this.#duration(25_000));
      case "damage":
        return network.damage(node, this.#duration(3_000));
      case "freeze":
        return node.freeze(this.#duration(15_000));
      case "slow":
        node.slowDisk(this.#duration(40_000));
        // More than its window is on its way.
        return random.below(3) === 0 ? this.#options.clients.flood() : undefined;
      case "full":
        return node.fillDisk(this.#duration(5_000));
      case "flip":
        return node.damage(random.pick(NAMESPACES));
      case "restore":
        return this.#restoreOrigin(node);
    }
  }

  /** The process of a node ends, in this way. */
  end(node: SimulatedNode, end: () => void): void {
    this.#options.network.cut(node);
    this.#options.promises.nodeEnded(node);
    end();
  }

  #duration(denseMs: number): number {
    return this.#options.random.below(denseMs * this.#options.rhythm.faultScale);
  }

  #setClock(node: SimulatedNode): void {
    const { random, origin, rhythm } = this.#options;
    const errorMs = rhythm.clockErrorMs;
    if (random.below(3) === 0) origin.setClock(random.below(2 * errorMs) - errorMs);
    else node.clock.set(random.below(7_200_000) - 3_600_000);
  }

  #toggle(node: SimulatedNode): void {
    const { random, origin } = this.#options;
    if (random.chance(0.02)) return origin.deleteNamespace(random.pick(NAMESPACES));
    const unwanted = NAMESPACES.filter((namespace) => !node.wanted.has(namespace));
    // What is not wanted comes back soon: more is to be seen of what is.
    node.toggle(random.pick(unwanted.length > 0 ? unwanted : NAMESPACES));
  }

  #killOrigin(): void {
    this.#options.origin.crash();
    for (const node of this.#options.nodes) this.#options.network.cut(node);
  }

  /** It starts with an older copy of all that it had. */
  #restoreOrigin(node: SimulatedNode): void {
    const { random, rhythm, origin, timeline, nodes, network } = this.#options;
    // A backup, or a standby that was a little behind.
    const ageMs = random.below(random.chance(0.5) ? rhythm.restoreMs : rhythm.restoreMs / 10);
    origin.restore(timeline.nowMs - ageMs);
    for (const each of nodes) network.cut(each);
    if (random.chance(0.5)) this.#hideRestore(node, random.pick(NAMESPACES));
  }

  /** A node hears nothing before the new history has come as far as the one that it holds. */
  #hideRestore(node: SimulatedNode, namespace: NamespaceId): void {
    const { origin, network } = this.#options;
    const { revision = 0 } = node.holding(namespace) ?? {};
    network.deafen(node, () => origin.history(namespace).revision > revision);
  }
}
