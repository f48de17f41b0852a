import type { Revision } from "../names.ts";

/** The origin had this revision at some moment after the node's clock showed `echoMs`. */
interface Position {
  readonly revision: Revision;
  readonly echoMs: number;
}

// Enough for half a minute of writes. A replica further behind than that learns so from older ones.
const AWAITED_MAX = 64;

/**
 * How fresh a replica is, by its own node's clock alone: the origin repeats that clock in its heartbeats,
 * so the clocks of the two machines need not agree.
 */
export class Freshness {
  /**
   * Positions that the replica has not reached, oldest first; each has a higher revision than the one before. So
   * what the origin says last drops what is higher: revisions of a history that it has lost, maybe without this node
   * ever having held it, might never be reached, and many of them would leave no room for those that can be.
   */
  #awaited: Position[] = [];
  #freshMs: number | null = null;

  /** The replica holds all that the origin had when the node's clock showed this; null before it is known. */
  get freshMs(): number | null {
    return this.#freshMs;
  }

  /** What was heard of another history says nothing about this one. */
  forget(): void {
    this.#awaited = [];
    this.#freshMs = null;
  }

  heard(position: Position, applied: Revision | null): void {
    if (!this.#awaited.some((each) => saysAsMuch(each, position))) {
      this.#awaited = this.#awaited.filter((each) => !saysAsMuch(position, each));
      // Past the bound the newest is left out: the oldest is what shows how far the replica has come.
      if (this.#awaited.length < AWAITED_MAX) this.#awaited.push(position);
    }
    this.reached(applied);
  }

  reached(applied: Revision | null): void {
    if (applied === null) return;
    for (const { revision, echoMs } of this.#awaited) {
      if (revision <= applied) this.#freshMs = Math.max(this.#freshMs ?? echoMs, echoMs);
    }
    this.#awaited = this.#awaited.filter(({ revision }) => revision > applied);
  }
}

/** Whether a position is reached no later than another one, and then shows the replica to be as fresh. */
function saysAsMuch(position: Position, other: Position): boolean {
  return position.revision <= other.revision && position.echoMs >= other.echoMs;
}
