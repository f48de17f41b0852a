import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { LIMITS } from "../limits.ts";
import { isDatabaseUnavailable } from "./unavailable.ts";

/**
 * Looks at what other control planes wrote, one look at a time: each `LIMITS.stateLookMs`, and whenever somebody
 * asks. A look that fails is over; the next one is due soon.
 */
export class DatabaseLooks {
  readonly #look: () => Promise<void>;
  readonly #failure: string;
  readonly #log: Logger;
  readonly #stop: () => void;
  /** Whether another look is wanted when the one that is under way ends. */
  #isWanted = false;
  #working: Promise<void> | undefined;
  #isClosed = false;

  constructor(parts: {
    readonly look: () => Promise<void>;
    /** What the log says of one that fails. */
    readonly failure: string;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#look = parts.look;
    this.#failure = parts.failure;
    this.#log = parts.log;
    this.#stop = parts.clock.every(LIMITS.stateLookMs, () => this.ask());
  }

  /** Returns at once. Several while one is under way are one more. Does nothing once this is closed. */
  ask(): void {
    // Others still tell of what they wrote, and a look would write that this control plane lives.
    if (this.#isClosed) return;
    this.#isWanted = true;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  /** Resolves when nothing is under way any more. May be called twice. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stop();
    this.#isWanted = false;
    await this.#working;
  }

  async #work(): Promise<void> {
    while (this.#isWanted) {
      this.#isWanted = false;
      try {
        await this.#look();
      } catch (error) {
        // That the database is away its connections say.
        if (!isDatabaseUnavailable(error)) this.#log.error({ err: error }, this.#failure);
        return;
      }
    }
  }
}
