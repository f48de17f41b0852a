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
      const { awayMs, backMs, longMs } = rhythm.absences;
      // Long enough for it to hold what the log is to lose.
      const stayMs = FIRST_STAYS * random.between(backMs);
      this.#stay(node, { stayMs, awayMs: node === last ? longMs : awayMs });
    }
  }

  /** It is there for a while, and then away for a time of the range. */
  #stay(
    node: SimulatedNode,
    { stayMs, awayMs }: { readonly stayMs: number; readonly awayMs: readonly [number, number] },
  ): void {
    const { timeline, random, act } = this.#options;
    for (let count = 0; count < ACTS; count += 1) {
      const afterMs = random.below(stayMs);
      if (timeline.nowMs + afterMs < this.#endMs) timeline.after(afterMs, act);
    }
    timeline.after(stayMs, () => this.#leave(node, awayMs));
  }

  #leave(node: SimulatedNode, awayMs: readonly [number, number]): void {
    const { rhythm, timeline, network, random, faults } = this.#options;
    const leftMs = this.#endMs - timeline.nowMs;
    if (rhythm.absences === undefined || leftMs <= 0) return;
    const durationMs = Math.min(random.between(awayMs), leftMs);
    network.isolate(node, durationMs);
    if (random.chance(0.6)) faults.end(node, () => node.switchOff(durationMs));
    const { awayMs: nextMs, backMs } = rhythm.absences;
    timeline.after(durationMs, () =>
      this.#stay(node, { stayMs: random.between(backMs), awayMs: nextMs }),
    );
  }
}
