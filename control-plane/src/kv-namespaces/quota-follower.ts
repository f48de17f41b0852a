import type { Clock, ManagedOrigin } from "@atoll/kv-store";
import type { Logger } from "pino";
import { AccountStore } from "../accounts/store.ts";
import type { Database } from "../database/database.ts";
import { isDatabaseUnavailable } from "../database/unavailable.ts";
import { LIMITS } from "../limits.ts";
import { lookForQuotaChanges, NOTHING_SEEN } from "../usage/quota-changes.ts";

export interface QuotaFollowerOptions {
  readonly database: Database;
  readonly origin: ManagedOrigin;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Tells the key-value store's origin what each account may have and do: there every write is charged, whichever
 * way it came. Accounts are changed by other processes, beside this one, so it looks for that.
 */
export class QuotaFollower {
  readonly #options: QuotaFollowerOptions;
  readonly #store = new AccountStore();
  /** Up to this change the origin was told. */
  #seen = NOTHING_SEEN;
  readonly #stop: () => void;
  #isLooking = false;

  /** Resolves when the origin knows all quotas. */
  static async start(options: QuotaFollowerOptions): Promise<QuotaFollower> {
    const follower = new QuotaFollower(options);
    try {
      await follower.look();
    } catch (error) {
      follower.close();
      throw error;
    }
    return follower;
  }

  private constructor(options: QuotaFollowerOptions) {
    this.#options = options;
    this.#stop = options.clock.every(LIMITS.quotaLookMs, () => void this.#lookAgain());
  }

  /** Tells the origin what has changed. */
  async look(): Promise<void> {
    const { database, origin } = this.#options;
    const changes = await lookForQuotaChanges(database, this.#seen);
    if (changes === undefined) return;
    for (const { id, kvQuota } of await this.#store.listChanged(database, changes.since)) {
      await origin.administration.setQuota(id, kvQuota);
    }
    // Only now, so that whatever failed is told again.
    this.#seen = changes.now;
  }

  /** May be called twice. */
  close(): void {
    this.#stop();
  }

  async #lookAgain(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      await this.look();
    } catch (err) {
      if (isDatabaseUnavailable(err)) return;
      // The next look is due soon; until then the origin goes by what it was told.
      this.#options.log.error({ err }, "the origin could not be told of quotas");
    } finally {
      this.#isLooking = false;
    }
  }
}
