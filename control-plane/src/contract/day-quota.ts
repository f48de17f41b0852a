import type { DailyUse } from "@atoll/kv-store";
import { z } from "zod";
import { AccountId } from "./names.ts";

const Count = z.int().nonnegative();

/** What an account used on one day. Who is of an older version tells nothing of KV. */
export const DayUse = z.object({
  /** That a worker with code had: static sites are free. */
  requests: Count,
  cpuUs: Count,
  /** Keys that were read, and their listings. */
  kvReads: Count.default(0),
  kvLists: Count.default(0),
});
export type DayUse = z.infer<typeof DayUse>;

export const NO_DAY_USE: DayUse = { requests: 0, cpuUs: 0, kvReads: 0, kvLists: 0 };

/** What an account may use on one day (UTC) on all nodes together; no bound where one is null. */
export const DayBounds = z.object({
  requestsMax: Count.nullable(),
  cpuMsMax: Count.nullable(),
  kvReadsMax: Count.nullable().default(null),
  kvListsMax: Count.nullable().default(null),
});
export type DayBounds = z.infer<typeof DayBounds>;

export const NO_DAY_BOUNDS: DayBounds = {
  ...{ requestsMax: null, cpuMsMax: null },
  ...{ kvReadsMax: null, kvListsMax: null },
};

/** What a node is told of an account with such bounds. All are null once it has none any more. */
export const DayQuota = DayBounds.extend({
  account: AccountId,
  /** The day that was used on. */
  day: z.iso.date(),
  /** As the control plane has stored it: of all other nodes together, and of the one that is told. */
  elsewhere: DayUse,
  here: DayUse,
});
export type DayQuota = z.infer<typeof DayQuota>;

/** Accounts of one message: a few hundred bytes each. More travel in several. */
export const DAY_QUOTAS_MAX = 5_000;

/** The day (UTC) of a moment. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** The moment at which the day of another ends. */
export function dayEndMs(ms: number): number {
  return (Math.floor(ms / DAY_MS) + 1) * DAY_MS;
}

const DAY_MS = 24 * 60 * 60 * 1_000;

/** What can be used up: with the first two the account's workers are refused, with the others such calls of KV. */
export type DayLimit = "requests" | "cpu" | "kvReads" | "kvLists";

/** What a day had of a kind of call of KV, and what bounds it. */
export const KV_DAY_LIMITS = {
  read: ["kvReads", "kvReadsMax"],
  list: ["kvLists", "kvListsMax"],
} as const satisfies Record<DailyUse, readonly [DayLimit & keyof DayUse, keyof DayBounds]>;

/** What nothing is left of: what is used up to a bound is within it. */
export function usedUpOf(bounds: DayBounds, used: DayUse): ReadonlySet<DayLimit> {
  const { requestsMax, cpuMsMax, kvReadsMax, kvListsMax } = bounds;
  const usedUp = new Set<DayLimit>();
  if (requestsMax !== null && used.requests >= requestsMax) usedUp.add("requests");
  if (cpuMsMax !== null && used.cpuUs >= cpuMsMax * 1_000) usedUp.add("cpu");
  if (kvReadsMax !== null && used.kvReads >= kvReadsMax) usedUp.add("kvReads");
  if (kvListsMax !== null && used.kvLists >= kvListsMax) usedUp.add("kvLists");
  return usedUp;
}

/** Whether an account's workers are refused. */
export function stopsWorkers(usedUp: ReadonlySet<DayLimit>): boolean {
  return usedUp.has("requests") || usedUp.has("cpu");
}

/** Whether an account may use as much as it likes. */
export function isWithoutDayBounds(bounds: DayBounds): boolean {
  const { requestsMax, cpuMsMax, kvReadsMax, kvListsMax } = bounds;
  return [requestsMax, cpuMsMax, kvReadsMax, kvListsMax].every((bound) => bound === null);
}

export function sumOfDayUses(uses: ReadonlyArray<DayUse>): DayUse {
  const sum = { ...NO_DAY_USE };
  for (const { requests, cpuUs, kvReads, kvLists } of uses) {
    sum.requests += requests;
    sum.cpuUs += cpuUs;
    sum.kvReads += kvReads;
    sum.kvLists += kvLists;
  }
  return sum;
}
