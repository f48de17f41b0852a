import {
  AccountId,
  accountOfKey,
  dayEndMs,
  dayOf,
  isUsedUp,
  NO_DAY_USE,
  sumOfDayUses,
  type DayQuota,
  type DayUse,
  type DesiredWorker,
  type UsageCounts,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
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

/**
 * Decides whose workers are refused because their accounts have used up their day: by what was used on this
 * node, to the last request, and what the control plane has told of all others. It goes on by that when nobody
 * tells any more, and begins anew with each day (UTC). See QUOTAS.md.
 */
export class DayGate {
  readonly #options: DayGateOptions;
  readonly #stop: () => void;
  #day: string;
  /** What accounts used here on that day. */
  #used = new Map<string, DayUse>();
  #quotas = new Map<string, DayQuota>();
  /** Workers with code, by account. */
  #workers: ReadonlyMap<string, ReadonlyArray<WorkerKey>> = new Map();
  /** Accounts that have used up the day. */
  #over: ReadonlySet<string> = new Set();
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
  count(owner: UsageOwner, { requests = 0, cpuUs = 0 }: Partial<UsageCounts>): void {
    if (owner.isStatic === true || requests + cpuUs === 0) return;
    const account = accountOfKey(owner.worker);
    const used = this.#used.get(account) ?? NO_DAY_USE;
    this.#used.set(account, { requests: used.requests + requests, cpuUs: used.cpuUs + cpuUs });
    const quota = this.#quotas.get(account);
    // Of all others the control plane knows enough, should they ever have one.
    if (quota === undefined) return;
    this.#isChanged = true;
    if (!this.#over.has(account) && this.#isOver(quota)) this.#decide();
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
    return this.#over.has(accountOfKey(worker));
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
    const { account, requestsMax, cpuMsMax, day, here } = quota;
    if (requestsMax === null && cpuMsMax === null) {
      this.#quotas.delete(account);
      return;
    }
    this.#quotas.set(account, quota);
    if (day !== this.#day) return;
    // It has counted more than this node knows of when the node's disk was lost.
    const used = this.#used.get(account) ?? NO_DAY_USE;
    this.#used.set(account, {
      requests: Math.max(used.requests, here.requests),
      cpuUs: Math.max(used.cpuUs, here.cpuUs),
    });
  }

  #totalOf({ account, day, elsewhere }: DayQuota): DayUse {
    const others = day === this.#day ? elsewhere : NO_DAY_USE;
    return sumOfDayUses([this.#used.get(account) ?? NO_DAY_USE, others]);
  }

  #isOver(quota: DayQuota): boolean {
    return isUsedUp(quota, this.#totalOf(quota));
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
    const over = [...this.#quotas.values()].filter((quota) => this.#isOver(quota));
    const before = this.#over;
    this.#over = new Set(over.map(({ account }) => account));
    const begun = over.filter(({ account }) => !before.has(account));
    const ended = [...before].filter((account) => !this.#over.has(account));
    const { log, clock } = this.#options;
    const until = new Date(dayEndMs(clock.nowMs())).toISOString();
    for (const quota of begun) {
      const { account, requestsMax, cpuMsMax } = quota;
      const told = { account, requestsMax, cpuMsMax, ...this.#totalOf(quota), until };
      log.warn(told, "an account used up its day: its workers are refused");
    }
    for (const account of ended) log.info({ account }, "an account's workers are served again");
    if (begun.length + ended.length > 0) this.#tell();
  }

  #tell(): void {
    const workers = [...this.#over].flatMap((account) => this.#workers.get(account) ?? []);
    this.#options.refuse(new Set(workers));
  }
}
