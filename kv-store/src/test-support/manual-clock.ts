import type { Clock } from "../clock.ts";

interface Timer {
  readonly intervalMs: number;
  readonly callback: () => void;
  nextMs: number;
}

/** Time that stands still until a test turns it on. */
export class ManualClock implements Clock {
  /** By the monotonic clock, which the timers go by. */
  #monotonicMs = 50_000;
  /** What the wall clock shows more. */
  #wallOffsetMs: number;
  readonly #timers = new Set<Timer>();

  constructor(nowMs = 1_800_000_000_000) {
    this.#wallOffsetMs = nowMs - this.#monotonicMs;
  }

  nowMs(): number {
    return this.#monotonicMs + this.#wallOffsetMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  every(intervalMs: number, callback: () => void): () => void {
    const timer = { intervalMs, callback, nextMs: this.#monotonicMs + intervalMs };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  /** Moves time on, calling each timer at its own moment. */
  advance(ms: number): void {
    const endMs = this.#monotonicMs + ms;
    for (;;) {
      const due = [...this.#timers].toSorted((a, b) => a.nextMs - b.nextMs)[0];
      if (due === undefined || due.nextMs > endMs) break;
      this.#monotonicMs = due.nextMs;
      due.nextMs += due.intervalMs;
      due.callback();
    }
    this.#monotonicMs = endMs;
  }

  /** Sets the wall clock forwards, or back when negative, as an operator or a time server does. */
  stepWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }
}
