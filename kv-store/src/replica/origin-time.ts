import type { Clock } from "../clock.ts";

/** What a heartbeat says of the origin's clock. */
export interface HeardTime {
  /** What the origin's clock showed, at some moment between the node's echo and the heartbeat's arrival. */
  readonly originMs: number;
  /** By this node's monotonic clock. */
  readonly echoMs: number;
}

export interface OriginTimeOptions {
  readonly clock: Pick<Clock, "monotonicMs">;
  /** What was saved last, in seconds since the epoch; `undefined` when nothing was. */
  readonly saved: number | undefined;
  /** Keeps it over the end of the process. Must not throw. */
  readonly save: (seconds: number) => void;
}

/**
 * The time by which entries expire: the origin's, on every node. Nobody looks at the node's own wall clock.
 * A heartbeat bounds the origin's clock from both sides, because it was read after the node's echo and before
 * the heartbeat came; between heartbeats the node's monotonic clock carries it on. So it is behind the
 * origin's by the way of a quick heartbeat at most, and never ahead of it: nothing is hidden before its time.
 *
 * It never goes back, over restarts neither: it is saved before anything is hidden by it. While a node is down
 * its time stands still, until the origin is heard again.
 */
export class OriginTime {
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #save: (seconds: number) => void;
  /** What the origin's clock shows more than this node's monotonic one; unknown before it was ever heard. */
  #offsetMs: number | undefined;
  /** What was saved stood still while no process ran: nothing may be dated by it. */
  #isHeard = false;
  /** Up to here, in seconds, everything counts as expired, whatever is heard. */
  #reached: number;

  constructor({ clock, saved, save }: OriginTimeOptions) {
    this.#clock = clock;
    this.#save = save;
    this.#reached = saved ?? 0;
    if (saved !== undefined) this.#offsetMs = saved * 1_000 - clock.monotonicMs();
  }

  /** Milliseconds since the epoch; `undefined` before the origin was ever heard. */
  nowMs(): number | undefined {
    if (this.#offsetMs === undefined) return undefined;
    return Math.max(this.#clock.monotonicMs() + this.#offsetMs, this.#reached * 1_000);
  }

  /** The same to count times to live from; `undefined` until the origin was heard in this run. */
  heardMs(): number | undefined {
    return this.#isHeard ? this.nowMs() : undefined;
  }

  heard({ originMs, echoMs }: HeardTime): void {
    this.#isHeard = true;
    const leastMs = originMs - this.#clock.monotonicMs();
    const mostMs = originMs - echoMs;
    this.#offsetMs = Math.min(Math.max(this.#offsetMs ?? leastMs, leastMs), mostMs);
    this.keep();
  }

  /** Whether an entry that expires then, in seconds since the epoch, is to be shown no more. */
  isExpired(expiresAt: number): boolean {
    if (expiresAt <= this.#reached) return true;
    this.keep();
    return expiresAt <= this.#reached;
  }

  /** Saves how far time has come, once in each second. */
  keep(): void {
    const seconds = Math.floor((this.nowMs() ?? 0) / 1_000);
    if (seconds <= this.#reached) return;
    this.#save(seconds);
    this.#reached = seconds;
  }
}
