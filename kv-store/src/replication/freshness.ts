import type { Revision } from "../names.ts";

/** The origin had this revision at some moment after the node's clock showed `echoMs`. */
interface Position {
  readonly revision: Revision;
  readonly echoMs: number;
}

// Enough for half a minute of heartbeats. A replica further behind than that learns so from older ones.
const AWAITED_MAX = 64;

/**
 * How fresh a replica is, by its own node's clock alone: the origin repeats that clock in its heartbeats,
 * so the clocks of the two machines need not agree.
 */
export class Freshness {
  /** Positions that the replica has not reached, oldest first. */
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
    // Past the bound the newest is left out: the oldest is what shows how far the replica has come.
    if (this.#awaited.length < AWAITED_MAX) this.#awaited.push(position);
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
