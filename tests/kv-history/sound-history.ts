import type { Random } from "@atoll/kv-store/test-support/random";
import {
  PRESENT,
  type History,
  type LoggedWrite,
  type Operation,
  type ReadOperation,
  type WriteOperation,
} from "./history.ts";

const NODES = ["iad", "fra", "nrt"] as const;
const SESSIONS_PER_NODE = 2;
const KEYS = ["a", "b", "c", "d"] as const;

/** A history of a store that keeps every promise, made up: with writes of all outcomes, and nodes that lag. */
export function soundHistory(random: Random, steps: number): History {
  const world = new World(random);
  for (let step = 0; step < steps; step += 1) world.step();
  return world.history();
}

class World {
  readonly #random: Random;
  readonly #log: LoggedWrite[] = [];
  readonly #operations: Operation[] = [];
  /** How far each node has come. */
  readonly #applied = new Map<string, number>(NODES.map((node) => [node, 0]));
  #nowMs = 1_000;

  constructor(random: Random) {
    this.#random = random;
  }

  step(): void {
    const random = this.#random;
    // Several steps fall into one millisecond, as on a fast machine.
    if (random.chance(0.6)) this.#nowMs += random.below(3);
    const node = random.pick(NODES);
    const session = `${node}/${random.below(SESSIONS_PER_NODE)}`;
    const asked = { node, session, invokedMs: this.#nowMs };
    if (random.chance(0.3)) this.#nowMs += random.below(3);
    if (random.chance(0.4)) this.#write(asked);
    else this.#read(asked);
  }

  history(): History {
    const held = this.#stateAt(this.#log.length);
    const finals = new Map(NODES.map((node) => [node, new Map(held)]));
    return { log: [...this.#log], operations: [...this.#operations], restarts: new Map(), finals };
  }

  #write(asked: Pick<WriteOperation, "node" | "session" | "invokedMs">): void {
    const random = this.#random;
    const key = random.pick(KEYS);
    const outcome = random.pick(["acknowledged", "acknowledged", "refused", "unknown"] as const);
    const value = random.chance(0.8) ? `v${this.#operations.length}` : null;
    if (outcome === "acknowledged" || (outcome === "unknown" && random.chance(0.5))) {
      this.#log.push({ revision: this.#log.length + 1, key, value });
    }
    if (outcome === "acknowledged") this.#applied.set(asked.node, this.#log.length);
    const completedMs = outcome === "unknown" ? Infinity : this.#nowMs;
    this.#operations.push({ kind: "write", ...asked, completedMs, key, value, outcome });
  }

  #read(asked: Pick<ReadOperation, "node" | "session" | "invokedMs">): void {
    const random = this.#random;
    const applied = this.#applied.get(asked.node) ?? 0;
    const revision = applied + random.below(this.#log.length - applied + 1);
    this.#applied.set(asked.node, revision);
    const held = this.#stateAt(revision);
    const keys = random.chance(0.5) ? [random.pick(KEYS)] : KEYS;
    const isListing = random.chance(0.2);
    const seen = new Map(
      keys.map((key) => {
        const value = held.get(key) ?? null;
        return [key, isListing && value !== null ? PRESENT : value] as const;
      }),
    );
    this.#operations.push({ kind: "read", ...asked, completedMs: this.#nowMs, seen });
  }

  #stateAt(revision: number): ReadonlyMap<string, string> {
    const held = new Map<string, string>();
    for (const { key, value } of this.#log.slice(0, revision)) {
      if (value === null) held.delete(key);
      else held.set(key, value);
    }
    return held;
  }
}
