import { setTimeout } from "node:timers/promises";
import type { RequestCounts } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";

/** Events that a cell has besides its requests: while there is one, the cell is in use. */
export class CellEventRuns {
  readonly #inFlight = new Set<Promise<unknown>>();
  #begun = 0;

  get counts(): RequestCounts {
    return { begun: this.#begun, inFlight: this.#inFlight.size };
  }

  /** Counts an event from now until it settles. */
  async run<Result>(event: () => Promise<Result>): Promise<Result> {
    this.#begun += 1;
    const running = event();
    this.#inFlight.add(running);
    try {
      return await running;
    } finally {
      this.#inFlight.delete(running);
    }
  }

  /** Resolves when none is left of those that are here now, or after `LIMITS.drainMs`. */
  async drained(): Promise<void> {
    if (this.#inFlight.size === 0) return;
    const patience = new AbortController();
    const options = { ref: false, signal: patience.signal };
    await Promise.race([
      Promise.allSettled(this.#inFlight),
      // Rejected by the end of what it waits for, which has come then.
      setTimeout(LIMITS.drainMs, undefined, options).catch(() => undefined),
    ]);
    patience.abort();
  }
}
