import type { Clock } from "../clock.ts";

interface Timer {
  readonly intervalMs: number;
  readonly callback: () => void;
  nextMs: number;
}

/** Time that stands still until a test turns it on. */
export class ManualClock implements Clock {
  #nowMs: number;
  readonly #timers = new Set<Timer>();

  constructor(nowMs = 1_800_000_000_000) {
    this.#nowMs = nowMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  every(intervalMs: number, callback: () => void): () => void {
    const timer = { intervalMs, callback, nextMs: this.#nowMs + intervalMs };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Moves time on, calling each timer at its own moment. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#timers].toSorted((a, b) => a.nextMs - b.nextMs)[0];
      if (due === undefined || due.nextMs > endMs) break;
      this.#nowMs = due.nextMs;
      due.nextMs += due.intervalMs;
      due.callback();
    }
    this.#nowMs = endMs;
  }
}
