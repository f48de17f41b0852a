import { dailyRefusal, type Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { AccountStore } from "../accounts/store.ts";
import { dayOf, KV_DAY_LIMITS, type AccountId } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { isDatabaseUnavailable } from "../database/unavailable.ts";
import { LIMITS } from "../limits.ts";
import { ChargeStore, type DayCharge, type KvCharge } from "./charge-store.ts";
import { SharedRuns } from "./shared-runs.ts";

/** One that waits to be let through. */
interface WaitingCharge extends DayCharge {
  readonly settled: PromiseWithResolvers<void>;
}

export interface KvChargesOptions {
  readonly database: Database;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Charges accounts' days for what callers of the API read and list in their namespaces, together with what
 * nodes have told of workers. Writes are charged by the key-value store's origin.
 *
 * Where an account has a bound, a call is let through when its charge is on disk, and of all calls at once, at all
 * control planes on the database, exactly as many are as fit. Calls that wait share a transaction. Where it has
 * none, a call waits for nothing, and what it did is stored soon.
 */
export class KvCharges {
  readonly #options: KvChargesOptions;
  readonly #accounts = new AccountStore();
  readonly #store = new ChargeStore();
  readonly #stop: () => void;
  /** At most one for each of `LIMITS.connectionsMax`. */
  #waiting: WaitingCharge[] = [];
  /** What accounts without a bound did and is not stored yet, by account, day and use: a sum for each. */
  #noted = new Map<string, DayCharge>();
  /** Transactions. */
  readonly #stores = new SharedRuns(() => this.#storeAll());

  constructor(options: KvChargesOptions) {
    this.#options = options;
    this.#stop = options.clock.every(LIMITS.kvNotedStoreMs, () => void this.store());
  }

  /**
   * Resolves when a call may go on: it counts, whatever comes of it. Rejected, and then it does not count, with
   * `daily_reads_exceeded` or `daily_lists_exceeded` when less is left of the day than it takes.
   */
  async charge(account: AccountId, { use, count }: KvCharge): Promise<void> {
    const { database, clock } = this.#options;
    const charge = { account, day: dayOf(clock.nowMs()), use, count };
    const bounds = await this.#accounts.dayBoundsOf(database, [account]);
    const [, name] = KV_DAY_LIMITS[use];
    if ((bounds.get(account)?.[name] ?? null) === null) this.#note(charge);
    else await this.#wait(charge);
  }

  /** Resolves when all that there is until now is stored or refused, or can't be stored now. */
  store(): Promise<void> {
    return this.#stores.run();
  }

  /** Resolves when everything is stored that can be. May be called twice. */
  async close(): Promise<void> {
    this.#stop();
    await this.store();
  }

  #note(charge: DayCharge): void {
    const { account, day, use } = charge;
    const key = `${day} ${account} ${use}`;
    const before = this.#noted.get(key)?.count ?? 0;
    this.#noted.set(key, { ...charge, count: before + charge.count });
  }

  async #wait(charge: DayCharge): Promise<void> {
    const settled = Promise.withResolvers<void>();
    this.#waiting.push({ ...charge, settled });
    void this.store();
    await settled.promise;
  }

  async #storeAll(): Promise<void> {
    const [waiting, noted] = [this.#waiting, [...this.#noted.values()]];
    if (waiting.length + noted.length === 0) return;
    this.#waiting = [];
    this.#noted = new Map();
    try {
      const outcomes = await this.#storeTogether(waiting, noted);
      for (const [index, { use, settled }] of waiting.entries()) {
        const bound = outcomes[index];
        if (bound === undefined) settled.resolve();
        else settled.reject(dailyRefusal(use, bound));
      }
    } catch (err) {
      for (const { settled } of waiting) settled.reject(err);
      for (const charge of noted) this.#note(charge);
      // That the database is away its connections say.
      if (noted.length === 0 || isDatabaseUnavailable(err)) return;
      this.#options.log.error({ err }, "what calls read and listed could not be stored");
    }
  }

  #storeTogether(
    waiting: ReadonlyArray<WaitingCharge>,
    noted: ReadonlyArray<DayCharge>,
  ): Promise<ReadonlyArray<number | undefined>> {
    // Beside other writers: `ChargeStore` locks what it decides by.
    const transactions = this.#options.database.transaction();
    return transactions
      .setIsolationLevel("read committed")
      .execute((transaction) => this.#store.charge(transaction, { charges: waiting, noted }));
  }
}
