import { isDeepStrictEqual } from "node:util";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import {
  DAY_QUOTAS_MAX,
  dayOf,
  NO_DAY_BOUNDS,
  usedUpOf,
  type AccountId,
  type DayQuota,
  type MessageToNode,
  type NodeName,
} from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { isDatabaseUnavailable } from "../database/unavailable.ts";
import { LIMITS } from "../limits.ts";
import { DayView } from "./day-view.ts";
import { SharedRuns } from "./shared-runs.ts";

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
  known: Map<AccountId, DayQuota> | undefined;
}

export interface DayQuotasOptions {
  readonly database: Database;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Tells each node what accounts with a quota by day have used on all others. Batches of usage, and quotas, may
 * have come over another control plane or a command beside this one, so it looks for
 * what is new (`DayView`). `edge-runtime/src/quotas/QUOTAS.md` has the promises.
 */
export class DayQuotas {
  readonly #options: DayQuotasOptions;
  readonly #view: DayView;
  readonly #open = new Set<Told>();
  readonly #stop: () => void;
  /** Accounts that the log was told of, with the day and what they have used up of it. */
  readonly #logged = new Map<AccountId, string>();
  readonly #looks = new SharedRuns(() => this.#look());

  constructor(options: DayQuotasOptions) {
    this.#options = options;
    this.#view = new DayView(options.database);
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
    return this.#looks.run();
  }

  async #look(): Promise<void> {
    if (this.#open.size === 0) return;
    try {
      const day = dayOf(this.#options.clock.nowMs());
      const changed = await this.#view.follow(day);
      for (const account of changed) this.#tellLog(day, account);
      for (const told of this.#open) this.#tell(told, changed);
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
    // After the one under way, and with nobody to tell it reads nothing.
    await this.look();
  }

  #tellLog(day: string, account: AccountId): void {
    const known = this.#view.find(account);
    if (known === undefined) {
      this.#logged.delete(account);
      return;
    }
    const { bounds, used } = known;
    const usedUp = [...usedUpOf(bounds, used)];
    const news = `${day} ${usedUp.join(" ")}`;
    if (usedUp.length === 0 || this.#logged.get(account) === news) return;
    this.#logged.set(account, news);
    const told = { account, day, usedUp, ...bounds, ...used };
    this.#options.log.warn(told, "an account used up its day");
  }

  /** Sends what a node does not know yet: of those that changed, or of all when it knows nothing. */
  #tell(told: Told, changed: Iterable<AccountId>): void {
    let isFirst = told.known === undefined;
    const known = (told.known ??= new Map());
    const accounts = isFirst ? this.#view.accounts : changed;
    const news = [...accounts].flatMap((account) => {
      const wanted = this.#view.quotaOf(account, told.node);
      return newsOf(known, account, wanted);
    });
    for (let index = 0; isFirst || index < news.length; index += DAY_QUOTAS_MAX) {
      const quotas = news.slice(index, index + DAY_QUOTAS_MAX);
      told.send({ kind: "day-quotas", isFirst, quotas });
      isFirst = false;
    }
  }
}

/** What of an account a node is to be told, and takes it for known. */
function newsOf(
  known: Map<AccountId, DayQuota>,
  account: AccountId,
  wanted: DayQuota | undefined,
): ReadonlyArray<DayQuota> {
  const before = known.get(account);
  if (isDeepStrictEqual(before, wanted)) return [];
  if (wanted !== undefined) {
    known.set(account, wanted);
    return [wanted];
  }
  known.delete(account);
  return before === undefined ? [] : [{ ...before, ...NO_DAY_BOUNDS }];
}
