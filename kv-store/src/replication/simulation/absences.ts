import type { SimulationParts } from "./simulated-clients.ts";
import type { SimulatedFaults } from "./simulated-faults.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import type { SimulatedNode } from "./simulated-node.ts";

export interface AbsencesOptions extends SimulationParts {
  readonly network: SimulatedNetwork;
  readonly faults: SimulatedFaults;
  readonly nodes: ReadonlyArray<SimulatedNode>;
  /** Something happens. */
  readonly act: () => void;
}

// While a node is there, so much happens in its time.
const ACTS = 6;
/** At first it stays as long as so many times later. */
const FIRST_STAYS = 4;

/** Nodes that are away, switched off or without a link, and come back for a while. */
export class Absences {
  readonly #options: AbsencesOptions;
  readonly #endMs: number;

  constructor(options: AbsencesOptions) {
    this.#options = options;
    this.#endMs = options.timeline.nowMs + options.rhythm.chaosMs;
  }

  begin(): void {
    const { rhythm, nodes, random } = this.#options;
    if (rhythm.absences === undefined) return;
    const last = random.pick(nodes);
    for (const node of nodes) {
      // Long enough for it to hold what the log is to lose.
      const stayMs = FIRST_STAYS * random.between(rhythm.absences.backMs);
      this.#stay(node, stayMs, { isLong: node === last });
    }
  }

  /** It is there for a while, and then away. */
  #stay(node: SimulatedNode, stayMs: number, away: { readonly isLong: boolean }): void {
    const { timeline, random, act } = this.#options;
    for (let count = 0; count < ACTS; count += 1) {
      const afterMs = random.below(stayMs);
      if (timeline.nowMs + afterMs < this.#endMs) timeline.after(afterMs, act);
    }
    timeline.after(stayMs, () => this.#leave(node, away));
  }

  #leave(node: SimulatedNode, { isLong }: { readonly isLong: boolean }): void {
    const { rhythm, timeline, network, random, faults } = this.#options;
    const leftMs = this.#endMs - timeline.nowMs;
    if (rhythm.absences === undefined || leftMs <= 0) return;
    const { awayMs, longMs, backMs } = rhythm.absences;
    const durationMs = Math.min(random.between(isLong ? longMs : awayMs), leftMs);
    network.isolate(node, durationMs);
    // What runs without a link may come to want other namespaces, and then it would have nothing to catch up with.
    if (isLong || random.chance(0.6)) faults.end(node, () => node.switchOff(durationMs));
    timeline.after(durationMs, () => this.#stay(node, random.between(backMs), { isLong: false }));
  }
}
