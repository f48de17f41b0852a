import { EdgeError } from "../errors.ts";
import type { RequestCounts } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";

export interface SubrequestAllowanceOptions {
  /** How many subrequests each request may make. */
  readonly perRequest: number;
  /** Asks the ingress. Counts all requests that reached the cell before the call, or since it began to count anew. */
  readonly requests: () => Promise<RequestCounts>;
  readonly nowMs: () => number;
}

/**
 * Bounds the subrequests of a cell by the requests that it got. Nothing outside of workerd sees which
 * request makes a subrequest, so requests share: each that begins adds its allowance to a pool, which each
 * subrequest takes one from. A request alone therefore gets exactly its allowance, several at a time
 * together exactly theirs, and none is ever refused what is its own.
 *
 * What requests left unused leaves the pool when they ended a while ago: for so long a request may go on
 * with `waitUntil`, which the ingress can't see.
 */
export class SubrequestAllowance {
  readonly #options: SubrequestAllowanceOptions;
  #pool = 0;
  /** What the ingress had counted when it was asked last. All of it is in the pool's account. */
  #counted = 0;
  /** What it had counted before it began anew: as when it was started again, or sent the cell nothing for a while. */
  #countedBefore = 0;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  /** Requests that had ended when the present and the previous window began. */
  #window = { startsAtMs: Number.NEGATIVE_INFINITY, ended: 0, endedBefore: 0 };
  #asking: Promise<void> | undefined;

  constructor(options: SubrequestAllowanceOptions) {
    this.#options = options;
  }

  /** Resolves when a subrequest may leave. Rejected with `subrequests_exceeded` when none is left. */
  async take(): Promise<void> {
    const isOld = this.#options.nowMs() - this.#askedAtMs >= LIMITS.subrequestCountMs;
    if (isOld || this.#pool < 1) await this.#ask();
    // That question may have been asked for another subrequest, before this one's request began.
    if (this.#pool < 1) await this.#ask();
    if (this.#pool < 1) {
      throw new EdgeError(
        "subrequests_exceeded",
        `Too many subrequests: the limit is ${this.#options.perRequest} for each request`,
      );
    }
    this.#pool -= 1;
  }

  /** Calls at the same time share one question. */
  #ask(): Promise<void> {
    this.#asking ??= this.#refill().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #refill(): Promise<void> {
    const { perRequest, requests, nowMs } = this.#options;
    const { begun: counted, inFlight } = await requests();
    this.#askedAtMs = nowMs();
    const begunBefore = this.#countedBefore + this.#counted;
    // Else what is new would be taken for a debt, and the cell refused until it had as many requests again.
    if (counted < this.#counted) this.#countedBefore = begunBefore;
    this.#counted = counted;
    const begun = this.#countedBefore + counted;
    this.#moveWindow(begun - inFlight);
    const alive = begun - this.#window.endedBefore;
    this.#pool += perRequest * (begun - begunBefore);
    this.#pool = Math.min(this.#pool, perRequest * alive);
  }

  #moveWindow(ended: number): void {
    const { startsAtMs, ended: endedBefore } = this.#window;
    if (this.#askedAtMs - startsAtMs < LIMITS.waitUntilMs) return;
    this.#window = { startsAtMs: this.#askedAtMs, ended, endedBefore };
  }
}
