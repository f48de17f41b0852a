import type { Clock } from "@atoll/kv-store";

// The two clocks differ by years: whoever compares one with the other is found out.
const WALL_OFFSET_MS = 1_800_000_000_000;

/** For tests: a clock that moves only when a test says so, and then calls everybody back. */
export class ManualClock implements Clock {
  #monotonicMs = 1_000_000;
  readonly #callbacks = new Set<() => void>();

  nowMs(): number {
    return WALL_OFFSET_MS + this.#monotonicMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  every(_intervalMs: number, callback: () => void): () => void {
    this.#callbacks.add(callback);
    return () => this.#callbacks.delete(callback);
  }

  get timerCount(): number {
    return this.#callbacks.size;
  }

  advance(ms: number): void {
    this.#monotonicMs += ms;
    for (const callback of this.#callbacks) callback();
  }
}
