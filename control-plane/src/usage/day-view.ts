import { dayBounds } from "../accounts/quota.ts";
import { AccountStore } from "../accounts/store.ts";
import {
  isWithoutDayBounds,
  NO_DAY_USE,
  sumOfDayUses,
  type AccountId,
  type DayBounds,
  type DayQuota,
  type DayUse,
  type NodeName,
} from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { UsageDayStore, type UseByPlace } from "./day-store.ts";
import { lookForQuotaChanges, NOTHING_SEEN } from "./quota-changes.ts";

const NOWHERE: UseByPlace = new Map();

/** What there is to follow: what has a number above `since`, up to `now`; all of it when it begins anew. */
interface Stretch {
  readonly day: string;
  readonly since: number;
  readonly now: number;
}

/** What accounts with bounds used on a day, in memory: it reads all of it once, and then what changes. */
export class DayView {
  readonly #database: Database;
  readonly #accounts = new AccountStore();
  readonly #days = new UsageDayStore();
  #day = "";
  #seen = NOTHING_SEEN;
  /** Of accounts that have any. */
  #bounds: ReadonlyMap<AccountId, DayBounds> = new Map();
  /** Of these, as far as they used anything. */
  #uses: ReadonlyMap<AccountId, UseByPlace> = new Map();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Those with bounds. */
  get accounts(): Iterable<AccountId> {
    return this.#bounds.keys();
  }

  /** What an account has used everywhere, and may use; `undefined` when it has no bounds. */
  find(account: AccountId): { readonly bounds: DayBounds; readonly used: DayUse } | undefined {
    const bounds = this.#bounds.get(account);
    const byPlace = this.#uses.get(account) ?? NOWHERE;
    return bounds && { bounds, used: sumOfDayUses([...byPlace.values()]) };
  }

  /** What a node should know of an account; `undefined` when it has no bounds. */
  quotaOf(account: AccountId, node: NodeName): DayQuota | undefined {
    const bounds = this.#bounds.get(account);
    if (bounds === undefined) return undefined;
    const byPlace = this.#uses.get(account) ?? NOWHERE;
    const others = [...byPlace].filter(([place]) => place !== node).map(([, use]) => use);
    const here = byPlace.get(node) ?? NO_DAY_USE;
    return { account, ...bounds, day: this.#day, elsewhere: sumOfDayUses(others), here };
  }

  /** Follows until now, or to another day. Resolves with the accounts that may have changed; when it fails, with none. */
  async follow(day: string): Promise<ReadonlySet<AccountId>> {
    const changes = await lookForQuotaChanges(this.#database, this.#seen);
    if (changes === undefined && day === this.#day) return new Set();
    const stretch = { day, since: this.#seen, now: this.#seen, ...changes };
    const { bounds, changed } = await this.#readBounds(stretch);
    const uses = await this.#readUses(stretch, bounds);
    const before = this.#uses;
    for (const [account, byPlace] of uses) {
      if (before.get(account) !== byPlace) changed.add(account);
    }
    // Only now, so that whatever failed is read again.
    [this.#day, this.#seen, this.#bounds, this.#uses] = [day, stretch.now, bounds, uses];
    return changed;
  }

  async #readBounds({ day, since }: Stretch): Promise<{
    readonly bounds: ReadonlyMap<AccountId, DayBounds>;
    readonly changed: Set<AccountId>;
  }> {
    const bounds = new Map(since === NOTHING_SEEN ? [] : this.#bounds);
    // Another day is another one to all of them.
    const changed = new Set(day === this.#day ? [] : bounds.keys());
    if (since === NOTHING_SEEN) for (const account of this.#bounds.keys()) changed.add(account);
    for (const { id, quota } of await this.#accounts.listChanged(this.#database, since)) {
      const own = dayBounds(quota);
      if (isWithoutDayBounds(own)) bounds.delete(id);
      else bounds.set(id, own);
      changed.add(id);
    }
    return { bounds, changed };
  }

  async #readUses(
    { day, since }: Stretch,
    bounds: ReadonlyMap<AccountId, DayBounds>,
  ): Promise<ReadonlyMap<AccountId, UseByPlace>> {
    const isAnew = since === NOTHING_SEEN || day !== this.#day;
    const kept = [...(isAnew ? [] : this.#uses)].filter(([account]) => bounds.has(account));
    const uses = new Map(kept);
    if (bounds.size === 0) return uses;
    // What was used before there were bounds has lower numbers.
    const granted = [...bounds.keys()].filter((account) => !this.#bounds.has(account));
    const accounts = isAnew ? [] : granted;
    for (const [account, byPlace] of await this.#days.read(this.#database, { day, accounts })) {
      uses.set(account, byPlace);
    }
    const from = isAnew ? NOTHING_SEEN : since;
    for (const [account, news] of await this.#days.readChanged(this.#database, {
      day,
      since: from,
    })) {
      if (!bounds.has(account)) continue;
      uses.set(account, new Map([...(uses.get(account) ?? NOWHERE), ...news]));
    }
    return uses;
  }
}
