import type { Clock } from "../clock.ts";

/**
 * The time by which an origin's entries expire, and from which times to live are counted: the machine's wall
 * clock, except that it never goes back. When the wall clock is set back it stands still until that has
 * caught up, so that nothing that has expired is there again, and nothing is written that has expired.
 */
export class ExpiryClock {
  readonly #clock: Clock;
  #reachedMs: number;

  /** Given what an earlier run of the origin, or another process with the same data, has acted on. */
  constructor(clock: Clock, reachedSeconds: number) {
    this.#clock = clock;
    this.#reachedMs = reachedSeconds * 1_000;
  }

  /** Milliseconds since the epoch. */
  nowMs(): number {
    this.#reachedMs = Math.max(this.#reachedMs, this.#clock.nowMs());
    return this.#reachedMs;
  }

  nowSeconds(): number {
    return Math.floor(this.nowMs() / 1_000);
  }

  /** Somebody has acted on this time: it is at least as late. */
  reached(seconds: number): void {
    this.#reachedMs = Math.max(this.#reachedMs, seconds * 1_000);
  }
}
