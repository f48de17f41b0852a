import type { Clock } from "@atoll/kv-store";

const START_MS = Date.parse("2026-11-20T12:00:00.000Z") - 1_000_000;

/** Time that a test turns on by hand. */
export class TestClock implements Clock {
  #monotonicMs = 1_000_000;

  nowMs(): number {
    return START_MS + this.#monotonicMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  advanceMs(ms: number): void {
    this.#monotonicMs += ms;
  }

  /** Nothing in these tests happens by itself. */
  every(): () => void {
    return () => undefined;
  }
}
