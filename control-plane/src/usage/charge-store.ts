import type { DailyUse } from "@atoll/kv-store";
import { AccountStore } from "../accounts/store.ts";
import {
  KV_DAY_LIMITS,
  NO_DAY_BOUNDS,
  NO_DAY_USE,
  sumOfDayUses,
  type AccountId,
  type DayUse,
} from "../contract/index.ts";
import type { Transaction } from "../database/database.ts";
import { API_CALLS, UsageDayStore, type PlacedUse } from "./day-store.ts";

/** What a call does: as many reads as it reads keys, or a list. */
export interface KvCharge {
  readonly use: DailyUse;
  readonly count: number;
}

/** What an account does on a day by a call of the API. */
export interface DayCharge extends KvCharge {
  readonly account: AccountId;
  readonly day: string;
}

/** What calls of the API did, beside what nodes tell: of all control planes in one row for each account and day. */
export class ChargeStore {
  readonly #accounts = new AccountStore();
  readonly #days = new UsageDayStore();

  /**
   * Adds those charges that fit, in their order, and what counts in any case. Resolves, for each of the charges,
   * with the bound that it would have exceeded, or `undefined`. In a transaction beside other writers: the rows
   * that it adds to are locked before anything is read, so that no other decides by them meanwhile.
   */
  async charge(
    transaction: Transaction,
    {
      charges,
      noted,
    }: { readonly charges: ReadonlyArray<DayCharge>; readonly noted: ReadonlyArray<DayCharge> },
  ): Promise<ReadonlyArray<number | undefined>> {
    await this.#days.lock(transaction, rowsOf([...charges, ...noted]));
    const outcomes = await this.#decide(transaction, charges);
    const fitting = charges.filter((_, index) => outcomes[index] === undefined);
    await this.#days.add(transaction, rowsOf([...fitting, ...noted]));
    return outcomes;
  }

  async #decide(
    transaction: Transaction,
    charges: ReadonlyArray<DayCharge>,
  ): Promise<ReadonlyArray<number | undefined>> {
    if (charges.length === 0) return [];
    const accounts = [...new Set(charges.map(({ account }) => account))];
    const bounds = await this.#accounts.dayBoundsOf(transaction, accounts);
    const used = await this.#used(transaction, charges);
    return charges.map((charge) => {
      const [limit, name] = KV_DAY_LIMITS[charge.use];
      const bound = (bounds.get(charge.account) ?? NO_DAY_BOUNDS)[name];
      const before = used.get(keyOf(charge)) ?? NO_DAY_USE;
      if (bound !== null && before[limit] + charge.count > bound) return bound;
      used.set(keyOf(charge), sumOfDayUses([before, useOf(charge)]));
      return undefined;
    });
  }

  /** What the accounts used on those days, everywhere. */
  async #used(
    transaction: Transaction,
    charges: ReadonlyArray<DayCharge>,
  ): Promise<Map<string, DayUse>> {
    const used = new Map<string, DayUse>();
    for (const [day, ofDay] of Map.groupBy(charges, (charge) => charge.day)) {
      const accounts = [...new Set(ofDay.map(({ account }) => account))];
      for (const [account, byPlace] of await this.#days.read(transaction, { day, accounts })) {
        used.set(keyOf({ account, day }), sumOfDayUses([...byPlace.values()]));
      }
    }
    return used;
  }
}

/** Sorted, so that two control planes that lock several rows don't wait in a circle. */
function rowsOf(charges: ReadonlyArray<DayCharge>): ReadonlyArray<PlacedUse> {
  return [...Map.groupBy(charges, keyOf)]
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([key, ofRow]) => {
      const [day = "", account = ""] = key.split(" ");
      return { account, day, place: API_CALLS, use: sumOfDayUses(ofRow.map(useOf)) };
    });
}

function keyOf({ account, day }: Pick<DayCharge, "account" | "day">): string {
  return `${day} ${account}`;
}

function useOf({ use, count }: KvCharge): DayUse {
  return { ...NO_DAY_USE, [KV_DAY_LIMITS[use][0]]: count };
}
