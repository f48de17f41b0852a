import { LIMITS } from "../limits.ts";

/** How long to wait before a cell that keeps dying is started again: nothing at first, then doubling. */
export class RestartBackoff {
  #deaths = 0;
  #notBeforeMs = 0;

  /** A cell ended by itself, or did not start (`livedMs` 0). */
  noteDeath(nowMs: number, livedMs: number): void {
    this.#deaths = livedMs >= LIMITS.cellHealthyMs ? 1 : this.#deaths + 1;
    // The first death costs no wait: most are one bad request. The exponent is bounded against overflow.
    const exponent = Math.min(this.#deaths - 2, 30);
    const waitMs =
      this.#deaths === 1
        ? 0
        : Math.min(LIMITS.cellBackoffMs * 2 ** exponent, LIMITS.cellBackoffMsMax);
    this.#notBeforeMs = nowMs + waitMs;
  }

  /** What is left of the wait. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#notBeforeMs - nowMs);
  }

  get deaths(): number {
    return this.#deaths;
  }
}
