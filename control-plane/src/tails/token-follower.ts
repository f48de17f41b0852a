import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { Database } from "../database/database.ts";
import { LIMITS } from "../limits.ts";
import { TokenStore } from "../tokens/store.ts";
import type { OpenTails } from "./open-tails.ts";

/**
 * Ends tails whose API token was revoked or has expired. It asks the database, because another control plane
 * may have revoked it, and only while somebody watches. While the database is gone nobody can tell: then
 * tails go on, as workers do.
 */
export class TokenFollower {
  readonly #database: Database;
  readonly #tails: OpenTails;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #store = new TokenStore();
  readonly #stop: () => void;
  #look: Promise<void> | undefined;

  constructor(parts: {
    readonly database: Database;
    readonly tails: OpenTails;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#database = parts.database;
    this.#tails = parts.tails;
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#stop = this.#clock.every(LIMITS.tailTokenLookMs, () => {
      // One at a time: a database that hangs is not asked ever more.
      this.#look ??= this.#endOrphans().finally(() => (this.#look = undefined));
    });
  }

  /** Resolves when nothing is under way any more. May be called twice. */
  async close(): Promise<void> {
    this.#stop();
    await this.#look;
  }

  async #endOrphans(): Promise<void> {
    const ids = [...this.#tails.tokenIds];
    if (ids.length === 0) return;
    try {
      const now = new Date(this.#clock.nowMs()).toISOString();
      const holding = await this.#store.listHolding(this.#database, ids, now);
      for (const id of ids) if (!holding.has(id)) this.#tails.endOf(id);
    } catch (error) {
      this.#log.warn({ err: error }, "whether the tokens of tails still hold can't be asked now");
    }
  }
}
