import { Absences } from "./absences.ts";
import { Promises } from "./promises.ts";
import { Random } from "./random.ts";
import { kindOf, RHYTHMS, worldOf, type Kind, type Rhythm, type World } from "./seed-kind.ts";
import { NAMESPACES, SimulatedClients } from "./simulated-clients.ts";
import { SimulatedFaults } from "./simulated-faults.ts";
import { SimulatedNetwork } from "./simulated-network.ts";
import { SimulatedNode } from "./simulated-node.ts";
import { SimulatedOrigin } from "./simulated-origin.ts";
import type { ValueSource } from "./simulated-read.ts";
import { Timeline } from "./timeline.ts";

const NODE_COUNT = 3;
// Longer than the slowest repair: a disk stays slow for up to 40 s, what it held up may be found to be damaged then, and
// one repair comes half a minute after another.
const CALM_MS = 90_000;
/** Nothing may be left to do this long after all has come to its end. */
const QUIET_MS = 3_000;

/** What a run did; for those who want to know that it did enough. */
export interface SimulationReport {
  readonly kind: Kind;
  readonly world: World;
  readonly commits: number;
  readonly acknowledged: number;
  /** Reads that were answered, and those of them whose value had to be fetched. */
  readonly reads: number;
  readonly fetchedReads: number;
  readonly faults: number;
  /** How often a node was further behind than the log reaches back, and how many entries were swept. */
  readonly horizons: number;
  readonly expired: number;
  /** How much time passed in it. */
  readonly simulatedMs: number;
  /** The same for the same seed, and hardly for another. */
  readonly fingerprint: number;
}

/**
 * One origin and some nodes through a time in which everything fails that can, and then until it is calm.
 * Throws at the first broken promise of REPLICATION.md, with the seed that shows it again. `trace` is told
 * of all that happens; that changes nothing.
 */
export function simulate(seed: number, trace?: (text: string) => void): SimulationReport {
  const simulation = new Simulation(seed, trace);
  try {
    return simulation.run();
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    const where = `seed ${seed} (${kindOf(seed)}, ${worldOf(seed)}), at ${simulation.nowMs} ms`;
    throw new Error(`${where}: ${what}`, { cause });
  }
}

class Simulation {
  readonly #kind: Kind;
  readonly #world: World;
  readonly #rhythm: Rhythm;
  readonly #random: Random;
  readonly #timeline = new Timeline();
  readonly #origin: SimulatedOrigin;
  readonly #network: SimulatedNetwork;
  readonly #promises: Promises;
  readonly #nodes: ReadonlyArray<SimulatedNode>;
  readonly #clients: SimulatedClients;
  readonly #faults: SimulatedFaults;
  readonly #absences: Absences;
  readonly #startMs: number;
  readonly #trace: ((text: string) => void) | undefined;
  #isCalm = false;

  constructor(seed: number, trace?: (text: string) => void) {
    this.#kind = kindOf(seed);
    this.#world = worldOf(seed);
    this.#rhythm = RHYTHMS[this.#kind];
    this.#random = new Random(seed);
    this.#startMs = this.#timeline.nowMs;
    if (trace !== undefined) this.#trace = (text) => trace(`${this.nowMs} ms  ${text}`);
    const isSound = this.#world === "sound";
    const parts = {
      ...{ world: this.#world, rhythm: this.#rhythm },
      ...{ timeline: this.#timeline, random: this.#random },
    };
    const origin = new SimulatedOrigin(NAMESPACES, { ...parts, isSound });
    const promises = new Promises({ timeline: this.#timeline, origin, isSound });
    const network = new SimulatedNetwork(origin, parts);
    promises.writes.network = network;
    network.trace = this.#trace;
    promises.trace = this.#trace;
    promises.writes.trace = this.#trace;
    const valueOf: ValueSource = ({ namespace, key, hash }) => origin.valueOf(namespace, key, hash);
    const nodeParts = { ...parts, namespaces: NAMESPACES, watcher: promises, valueOf };
    const nodes = Array.from(
      { length: NODE_COUNT },
      (_, number) => new SimulatedNode(number, nodeParts),
    );
    const clients = new SimulatedClients({ ...parts, origin, promises, nodes });
    const whole = { ...parts, origin, promises, network, clients, nodes, trace: this.#trace };
    const faults = new SimulatedFaults(whole);
    this.#absences = new Absences({ ...whole, faults, act: () => this.#act() });
    this.#origin = origin;
    this.#promises = promises;
    this.#network = network;
    this.#nodes = nodes;
    this.#clients = clients;
    this.#faults = faults;
    if (isSound) this.#endFaults();
  }

  get nowMs(): number {
    return this.#timeline.nowMs - this.#startMs;
  }

  run(): SimulationReport {
    const { chaosMs, faultScale } = this.#rhythm;
    for (const node of this.#nodes) this.#network.keepConnected(node);
    this.#goOn();
    this.#absences.begin();
    this.#timeline.run(this.#startMs + chaosMs);
    this.#isCalm = true;
    this.#trace?.("all faults end");
    this.#endFaults();
    const endMs = this.#startMs + chaosMs + CALM_MS * faultScale;
    this.#timeline.run(endMs, () => this.#isQuiet());
    this.#promises.checkConverged(this.#nodes);
    if (!this.#isQuiet()) throw new Error("all have converged, and still ask, repair or cut");
    return {
      kind: this.#kind,
      world: this.#world,
      commits: this.#origin.commits,
      acknowledged: this.#promises.writes.acknowledged,
      reads: this.#promises.reads.answered,
      fetchedReads: this.#promises.reads.fetched,
      faults: this.#faults.count + this.#network.faults,
      horizons: this.#origin.horizons,
      expired: this.#origin.expired,
      simulatedMs: this.nowMs,
      fingerprint: this.#random.next(),
    };
  }

  #isQuiet(): boolean {
    const sinceMs = this.#timeline.nowMs - QUIET_MS;
    return this.#promises.restlessMs < sinceMs && this.#promises.isConverged(this.#nodes);
  }

  /** Something happens every now and then, until it is calm. */
  #goOn(): void {
    if (this.#isCalm) return;
    this.#act();
    // Now and then right after another, while that is still on its way.
    const delayMs = this.#random.below(this.#random.chance(0.4) ? 20 : this.#rhythm.pauseMs);
    this.#timeline.after(delayMs, () => this.#goOn());
  }

  #act(): void {
    if (this.#random.chance(0.2)) this.#clients.read();
    else if (this.#random.chance(0.03)) this.#clients.changeExtent();
    else if (this.#random.chance(this.#rhythm.faultShare)) this.#faults.break();
    else this.#clients.write();
  }

  #endFaults(): void {
    this.#network.endFaults();
    this.#origin.isFaulty = false;
    for (const node of this.#nodes) node.endFaults();
  }
}
