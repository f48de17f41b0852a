import type { Clock } from "@atoll/kv-store";

/** For tests: a clock that moves only when a test says so, and then calls everybody back. */
export class ManualClock implements Clock {
  #nowMs = 1_000_000;
  readonly #callbacks = new Set<() => void>();

  nowMs(): number {
    return this.#nowMs;
  }

  every(_intervalMs: number, callback: () => void): () => void {
    this.#callbacks.add(callback);
    return () => this.#callbacks.delete(callback);
  }

  get timerCount(): number {
    return this.#callbacks.size;
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    for (const callback of this.#callbacks) callback();
  }
}
