import type {
  NodeName,
  ScheduledEnd,
  ScheduledEvent,
  ScheduledRun,
  WorkerKey,
} from "../contract/index.ts";
import { LIMITS } from "../limits.ts";

/** A node's connection, as far as scheduled events go over it. */
export interface EventCarrier {
  readonly node: NodeName;
  send(event: ScheduledEvent): void;
  acknowledge(run: ScheduledRun): void;
  /** Whether the desired version of a worker runs there, as far as is known. */
  runs(worker: WorkerKey): boolean;
}

/** What a node tells over its connection. */
export interface EventLink {
  /** All runs that the node has. The first call says that it takes events. */
  hold(runs: ReadonlyArray<ScheduledRun>): Promise<void>;
  /** Resolves when the end is on disk and acknowledged. */
  ended(end: ScheduledEnd): Promise<void>;
  /** The connection is gone. May be called twice. */
  close(): void;
}

/** A connection over which events can be sent, with what the node has of them. */
export interface OpenCarrier extends EventCarrier {
  readonly running: Set<string>;
  /** When it was last given one, as a number that only grows. */
  lastTurn: number;
  isOpen: boolean;
}

/** The nodes that take events now. */
export class Carriers {
  readonly #open = new Set<OpenCarrier>();
  #turn = 0;

  add(carrier: OpenCarrier): void {
    this.#open.add(carrier);
  }

  remove(carrier: OpenCarrier): void {
    carrier.isOpen = false;
    this.#open.delete(carrier);
  }

  /** Takes a run off whoever had it. */
  release(run: ScheduledRun): void {
    for (const { running } of this.#open) running.delete(run.occurrence);
  }

  /**
   * The node for an event: one that runs the worker, before one where its version failed; the one with the
   * fewest events; the one whose turn was the longest ago. None when all have as many as they may.
   */
  choose(worker: WorkerKey): OpenCarrier | undefined {
    const [chosen] = [...this.#open]
      .filter(({ running }) => running.size < LIMITS.occurrencesPerNodeMax)
      .map((carrier) => ({ carrier, isFit: carrier.runs(worker) }))
      .toSorted(
        (left, right) =>
          Number(right.isFit) - Number(left.isFit) ||
          left.carrier.running.size - right.carrier.running.size ||
          left.carrier.lastTurn - right.carrier.lastTurn,
      );
    if (chosen === undefined) return undefined;
    this.#turn += 1;
    chosen.carrier.lastTurn = this.#turn;
    return chosen.carrier;
  }
}
