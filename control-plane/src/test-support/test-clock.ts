import type { Clock } from "@atoll/kv-store";

/** Time that a test turns on by hand. */
export class TestClock implements Clock {
  #nowMs = Date.parse("2026-11-20T12:00:00.000Z");

  nowMs(): number {
    return this.#nowMs;
  }

  advanceMs(ms: number): void {
    this.#nowMs += ms;
  }

  /** Nothing in these tests happens by itself. */
  every(): () => void {
    return () => undefined;
  }
}
