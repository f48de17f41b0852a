import { z } from "zod";
import { AccountId } from "./names.ts";

const Count = z.int().nonnegative();

/** What an account used on one day. */
export const DayUse = z.object({
  /** That a worker with code had: static sites are free. */
  requests: Count,
  cpuUs: Count,
});
export type DayUse = z.infer<typeof DayUse>;

export const NO_DAY_USE: DayUse = { requests: 0, cpuUs: 0 };

/** What an account may use on one day (UTC) on all nodes together; no bound where one is null. */
export const DayBounds = z.object({
  requestsMax: Count.nullable(),
  cpuMsMax: Count.nullable(),
});
export type DayBounds = z.infer<typeof DayBounds>;

/** What a node is told of an account with such bounds. Both are null once it has none any more. */
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

/** Whether nothing is left of a day: what is used up to a bound is within it. */
export function isUsedUp({ requestsMax, cpuMsMax }: DayBounds, used: DayUse): boolean {
  const isOverRequests = requestsMax !== null && used.requests >= requestsMax;
  return isOverRequests || (cpuMsMax !== null && used.cpuUs >= cpuMsMax * 1_000);
}

export function sumOfDayUses(uses: ReadonlyArray<DayUse>): DayUse {
  return {
    requests: uses.reduce((sum, { requests }) => sum + requests, 0),
    cpuUs: uses.reduce((sum, { cpuUs }) => sum + cpuUs, 0),
  };
}
