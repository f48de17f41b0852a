import { LIMITS } from "../limits.ts";

/** Bounds what is kept of a cell's output: so much at a time, and then as much as comes back with time. */
export class OutputBudget {
  #left: number = LIMITS.cellOutputBytes;
  #asOfMs: number;
  #omitted = 0;

  constructor(nowMs: number) {
    this.#asOfMs = nowMs;
  }

  /** Whether a line is kept; it counts when it is, and is left out when not. */
  takes(line: string, nowMs: number): boolean {
    const returned = ((nowMs - this.#asOfMs) / 1_000) * LIMITS.cellOutputBytesPerSecond;
    this.#left = Math.min(LIMITS.cellOutputBytes, this.#left + returned);
    this.#asOfMs = nowMs;
    // Whatever writes it adds some of its own: nobody may write empty lines without end.
    const bytes = line.length + LIMITS.cellOutputLineExtraBytes;
    if (bytes > this.#left) {
      this.#omitted += 1;
      return false;
    }
    this.#left -= bytes;
    return true;
  }

  /** How many lines were left out since this was asked before. */
  takeOmitted(): number {
    const omitted = this.#omitted;
    this.#omitted = 0;
    return omitted;
  }
}
