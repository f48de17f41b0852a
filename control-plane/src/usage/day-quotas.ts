import { isDeepStrictEqual } from "node:util";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { dayBounds } from "../accounts/quota.ts";
import { AccountStore } from "../accounts/store.ts";
import {
  DAY_QUOTAS_MAX,
  dayOf,
  isWithoutDayBounds,
  NO_DAY_BOUNDS,
  NO_DAY_USE,
  sumOfDayUses,
  usedUpOf,
  type AccountId,
  type DayBounds,
  type DayQuota,
  type MessageToNode,
  type NodeName,
} from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { isDatabaseUnavailable } from "../database/unavailable.ts";
import { LIMITS } from "../limits.ts";
import { UsageDayStore, type UseByPlace } from "./day-store.ts";

type QuotaMessage = Extract<MessageToNode, { kind: "day-quotas" }>;

/** A node's connection, as far as quotas by day are told over it. */
export interface DayQuotaLink {
  /** The node has greeted: it is told everything, and from then on what changes. */
  open(): void;
  /** May be called twice. */
  close(): void;
}

interface Told {
  readonly node: NodeName;
  readonly send: (message: QuotaMessage) => void;
  /** What the node knows by account; `undefined` while it knows nothing. */
  known: ReadonlyMap<AccountId, DayQuota> | undefined;
}

/** What an account may use on a day, and what it used. */
interface AccountUse extends DayBounds {
  readonly byPlace: UseByPlace;
}

export interface DayQuotasOptions {
  readonly database: Database;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Tells each node what accounts with a quota by day have used on all others. Batches of usage, and quotas, may
 * have come over another control plane or a command beside this one, so it looks for
 * them. `edge-runtime/src/quotas/QUOTAS.md` has the promises.
 */
export class DayQuotas {
  readonly #options: DayQuotasOptions;
  readonly #accounts = new AccountStore();
  readonly #days = new UsageDayStore();
  readonly #open = new Set<Told>();
  readonly #stop: () => void;
  /** Accounts that the log was told of, with the day and what they have used up of it. */
  readonly #logged = new Map<AccountId, string>();
  /** The look under way, and the one that follows it when somebody asked for one meanwhile. */
  #looking: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(options: DayQuotasOptions) {
    this.#options = options;
    this.#stop = options.clock.every(LIMITS.quotaLookMs, () => void this.look());
  }

  connect(link: Pick<Told, "node" | "send">): DayQuotaLink {
    const told: Told = { ...link, known: undefined };
    return {
      open: () => {
        told.known = undefined;
        this.#open.add(told);
        void this.look();
      },
      close: () => void this.#open.delete(told),
    };
  }

  /** Tells nodes what has changed until now. Never rejected: the next look is due soon. */
  look(): Promise<void> {
    this.#next ??= this.#looking.then(() => {
      this.#next = undefined;
      this.#looking = this.#look();
      return this.#looking;
    });
    return this.#next;
  }

  async #look(): Promise<void> {
    if (this.#open.size === 0) return;
    try {
      const day = dayOf(this.#options.clock.nowMs());
      const accounts = await this.#read(day);
      this.#tellLog(day, accounts);
      for (const told of this.#open) tell(told, quotasFor(told.node, day, accounts));
    } catch (err) {
      // That the database is away its connections say.
      if (isDatabaseUnavailable(err)) return;
      this.#options.log.error({ err }, "could not look for what accounts used today");
    }
  }

  /** Resolves when nothing is read any more. May be called twice. */
  async close(): Promise<void> {
    this.#stop();
    this.#open.clear();
    await this.#looking;
  }

  async #read(day: string): Promise<ReadonlyMap<AccountId, AccountUse>> {
    const { database } = this.#options;
    const bounds = new Map(
      (await this.#accounts.list(database))
        .map(({ id, quota }) => [id, dayBounds(quota)] as const)
        .filter(([, bound]) => !isWithoutDayBounds(bound)),
    );
    const uses = await this.#days.read(database, { day, accounts: [...bounds.keys()] });
    return new Map(
      [...bounds].map(([id, bound]) => [id, { ...bound, byPlace: uses.get(id) ?? new Map() }]),
    );
  }

  #tellLog(day: string, accounts: ReadonlyMap<AccountId, AccountUse>): void {
    for (const [account, { byPlace, ...bounds }] of accounts) {
      const used = sumOfDayUses([...byPlace.values()]);
      const usedUp = [...usedUpOf(bounds, used)];
      const news = `${day} ${usedUp.join(" ")}`;
      if (usedUp.length === 0 || this.#logged.get(account) === news) continue;
      this.#logged.set(account, news);
      const told = { account, day, usedUp, ...bounds, ...used };
      this.#options.log.warn(told, "an account used up its day");
    }
    for (const account of this.#logged.keys()) {
      if (!accounts.has(account)) this.#logged.delete(account);
    }
  }
}

/** What one node should know. */
function quotasFor(
  node: NodeName,
  day: string,
  accounts: ReadonlyMap<AccountId, AccountUse>,
): ReadonlyMap<AccountId, DayQuota> {
  return new Map(
    [...accounts].map(([account, { byPlace, ...bounds }]) => {
      const others = [...byPlace].filter(([name]) => name !== node).map(([, use]) => use);
      const here = byPlace.get(node) ?? NO_DAY_USE;
      const elsewhere = sumOfDayUses(others);
      return [account, { account, ...bounds, day, elsewhere, here }];
    }),
  );
}

/** Sends what a node does not know yet. */
function tell(told: Told, wanted: ReadonlyMap<AccountId, DayQuota>): void {
  const { known = new Map<AccountId, DayQuota>() } = told;
  const changed = [...wanted.values()].filter(
    (quota) => !isDeepStrictEqual(known.get(quota.account), quota),
  );
  const lifted = [...known.values()]
    .filter(({ account }) => !wanted.has(account))
    .map((quota) => ({ ...quota, ...NO_DAY_BOUNDS }));
  const news = [...changed, ...lifted];
  let isFirst = told.known === undefined;
  told.known = wanted;
  for (let index = 0; isFirst || index < news.length; index += DAY_QUOTAS_MAX) {
    const quotas = news.slice(index, index + DAY_QUOTAS_MAX);
    told.send({ kind: "day-quotas", isFirst, quotas });
    isFirst = false;
  }
}
