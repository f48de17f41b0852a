import { isDeepStrictEqual } from "node:util";
import {
  AccountId,
  accountOfKey,
  dayEndMs,
  dayOf,
  isWithoutDayBounds,
  KV_DAY_LIMITS,
  NO_DAY_USE,
  stopsWorkers,
  sumOfDayUses,
  usedUpOf,
  type DayLimit,
  type DayQuota,
  type DayUse,
  type DesiredWorker,
  type UsageCounts,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import type { Clock, DailyUse } from "@atoll/kv-store";
import type { Logger } from "pino";
import { LIMITS } from "../limits.ts";
import type { UsageOwner } from "../usage/usage-counts.ts";
import type { DayFile, DayRecord } from "./day-file.ts";

export interface DayGateOptions {
  readonly file: Pick<DayFile, "load" | "save">;
  /** Told of all workers that are refused from now on, whenever these change. */
  readonly refuse: (workers: ReadonlySet<WorkerKey>) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A worker, as far as it matters here. */
type GatedWorker = Pick<DesiredWorker, "account" | "name" | "versions">;

type Mutable<Counts> = { -readonly [Name in keyof Counts]: Counts[Name] };

const NOTHING: ReadonlySet<DayLimit> = new Set();

/**
 * Decides whose workers, or calls of KV, are refused because their accounts have used up their day: by what was used on this
 * node, to the last request, and what the control plane has told of all others. It goes on by that when nobody
 * tells any more, and begins anew with each day (UTC). See QUOTAS.md.
 */
export class DayGate {
  readonly #options: DayGateOptions;
  readonly #stop: () => void;
  #day: string;
  /** What accounts used here on that day. */
  #used = new Map<string, Mutable<DayUse>>();
  #quotas = new Map<string, DayQuota>();
  /** Workers with code, by account. */
  #workers: ReadonlyMap<string, ReadonlyArray<WorkerKey>> = new Map();
  /** What accounts have used up of the day, of those that have. */
  #over: ReadonlyMap<string, ReadonlySet<DayLimit>> = new Map();
  /** Something is not on disk. */
  #isChanged = false;

  /** Goes on from what is on disk. */
  static async open(options: DayGateOptions): Promise<DayGate> {
    return new DayGate(options, await options.file.load());
  }

  private constructor(options: DayGateOptions, known: DayRecord | undefined) {
    this.#options = options;
    this.#day = dayOf(options.clock.nowMs());
    if (known?.day === this.#day) {
      this.#used = new Map(known.used.map(({ account, ...use }) => [account, use]));
    }
    for (const quota of known?.quotas ?? []) this.#quotas.set(quota.account, quota);
    this.#decide();
    this.#stop = options.clock.every(LIMITS.dayLookMs, () => this.#turnDay());
  }

  /** Charges what a version used. Cheap: it is called for each request. */
  count(owner: UsageOwner, counts: Partial<UsageCounts>): void {
    const { requests = 0, cpuUs = 0, kvReads = 0, kvLists = 0 } = counts;
    if (owner.isStatic === true || requests + cpuUs + kvReads + kvLists === 0) return;
    const account = accountOfKey(owner.worker);
    const used = this.#usedBy(account);
    used.requests += requests;
    used.cpuUs += cpuUs;
    used.kvReads += kvReads;
    used.kvLists += kvLists;
    const quota = this.#quotas.get(account);
    // Of all others the control plane knows enough, should they ever have one.
    if (quota === undefined) return;
    this.#isChanged = true;
    const known = this.#over.get(account)?.size ?? 0;
    if (usedUpOf(quota, this.#totalOf(quota)).size > known) this.#decide();
  }

  /** What the control plane tells; with `isFirst` nothing that was told before holds any more. */
  hear(news: { readonly isFirst: boolean; readonly quotas: ReadonlyArray<DayQuota> }): void {
    if (news.isFirst) this.#quotas.clear();
    for (const quota of news.quotas) this.#hear(quota);
    this.#isChanged = true;
    this.#decide();
  }

  /** The workers that the node runs from now on. */
  setWorkers(workers: ReadonlyArray<GatedWorker>): void {
    const withCode = workers.filter(({ versions }) =>
      versions.some(({ version }) => version.code.kind !== "none"),
    );
    const keys = Map.groupBy(withCode, ({ account }) => account);
    this.#workers = new Map(
      [...keys].map(([account, own]) => [account, own.map(({ name }) => `${account}/${name}`)]),
    );
    if (this.#over.size > 0) this.#tell();
  }

  /** Whether a worker is refused. */
  isRefused(worker: WorkerKey): boolean {
    return stopsWorkers(this.#over.get(accountOfKey(worker)) ?? NOTHING);
  }

  /** Whether any account has used up anything of its day. */
  get isAnybodyOver(): boolean {
    return this.#over.size > 0;
  }

  /** How much of the day a worker's account had for calls of KV, once that is used up. */
  kvUsedUp(worker: WorkerKey, use: DailyUse): number | undefined {
    const [limit, bound] = KV_DAY_LIMITS[use];
    const account = accountOfKey(worker);
    if (this.#over.get(account)?.has(limit) !== true) return undefined;
    return this.#quotas.get(account)?.[bound] ?? undefined;
  }

  /** Resolves when what was counted and heard is on disk, or could not be written and is tried again. */
  async save(): Promise<void> {
    if (!this.#isChanged) return;
    this.#isChanged = false;
    const used = [...this.#used].map(([account, use]) => ({
      account: AccountId.parse(account),
      ...use,
    }));
    try {
      await this.#options.file.save({ day: this.#day, used, quotas: [...this.#quotas.values()] });
    } catch (error) {
      this.#isChanged = true;
      this.#options.log.error({ err: error }, "what accounts used today could not be written");
    }
  }

  /** May be called twice. */
  async close(): Promise<void> {
    this.#stop();
    await this.save();
  }

  #hear(quota: DayQuota): void {
    const { account, day, here } = quota;
    if (isWithoutDayBounds(quota)) {
      this.#quotas.delete(account);
      return;
    }
    this.#quotas.set(account, quota);
    if (day !== this.#day) return;
    // It has counted more than this node knows of when the node's disk was lost.
    const used = this.#usedBy(account);
    used.requests = Math.max(used.requests, here.requests);
    used.cpuUs = Math.max(used.cpuUs, here.cpuUs);
    used.kvReads = Math.max(used.kvReads, here.kvReads);
    used.kvLists = Math.max(used.kvLists, here.kvLists);
  }

  #usedBy(account: string): Mutable<DayUse> {
    const known = this.#used.get(account);
    if (known !== undefined) return known;
    const used = { ...NO_DAY_USE };
    this.#used.set(account, used);
    return used;
  }

  #totalOf({ account, day, elsewhere }: DayQuota): DayUse {
    const others = day === this.#day ? elsewhere : NO_DAY_USE;
    return sumOfDayUses([this.#used.get(account) ?? NO_DAY_USE, others]);
  }

  #turnDay(): void {
    const day = dayOf(this.#options.clock.nowMs());
    if (day === this.#day) return;
    this.#day = day;
    this.#used = new Map();
    this.#isChanged = true;
    this.#decide();
  }

  #decide(): void {
    const before = this.#over;
    const all = [...this.#quotas.values()].map(
      (quota) => [quota.account, usedUpOf(quota, this.#totalOf(quota))] as const,
    );
    this.#over = new Map(all.filter(([, usedUp]) => usedUp.size > 0));
    for (const account of new Set([...before.keys(), ...this.#over.keys()])) {
      this.#log(account, before.get(account) ?? NOTHING);
    }
    const stopped = (over: typeof before): ReadonlyArray<string> =>
      [...over].filter(([, usedUp]) => stopsWorkers(usedUp)).map(([account]) => account);
    if (!isDeepStrictEqual(new Set(stopped(before)), new Set(stopped(this.#over)))) this.#tell();
  }

  /** Tells what of an account is refused from now on that was not before, and what is no longer. */
  #log(account: string, before: ReadonlySet<DayLimit>): void {
    const { log, clock } = this.#options;
    const now = this.#over.get(account) ?? NOTHING;
    const [begun, ended] = [without(now, before), without(before, now)];
    const quota = this.#quotas.get(account);
    if (begun.size > 0 && quota !== undefined) {
      const { requestsMax, cpuMsMax, kvReadsMax, kvListsMax } = quota;
      const bounds = { requestsMax, cpuMsMax, kvReadsMax, kvListsMax };
      const until = new Date(dayEndMs(clock.nowMs())).toISOString();
      const told = { account, usedUp: [...begun], ...bounds, ...this.#totalOf(quota), until };
      const what = stopsWorkers(begun) ? "its workers are" : "such calls of KV are";
      log.warn(told, `an account used up its day: ${what} refused`);
    }
    if (ended.size === 0) return;
    const what = stopsWorkers(ended) ? "an account's workers are" : "an account's calls of KV are";
    log.info({ account, left: [...ended] }, `${what} served again`);
  }

  #tell(): void {
    const workers = [...this.#workers].filter(([account]) =>
      stopsWorkers(this.#over.get(account) ?? NOTHING),
    );
    this.#options.refuse(new Set(workers.flatMap(([, keys]) => keys)));
  }
}

function without<Item>(all: ReadonlySet<Item>, others: ReadonlySet<Item>): ReadonlySet<Item> {
  return new Set([...all].filter((each) => !others.has(each)));
}
