import { systemClock, type Clock } from "../clock.ts";

/** The machine's own time for those who wait for real things, from which a test can leave out some. */
export class HurriedClock implements Clock {
  #skippedMs = 0;

  nowMs(): number {
    return systemClock.nowMs() + this.#skippedMs;
  }

  monotonicMs(): number {
    return systemClock.monotonicMs() + this.#skippedMs;
  }

  every(intervalMs: number, callback: () => void): () => void {
    return systemClock.every(intervalMs, callback);
  }

  skip(ms: number): void {
    this.#skippedMs += ms;
  }
}
