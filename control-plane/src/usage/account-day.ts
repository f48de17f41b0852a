import { z } from "zod";
import { dayBounds, type AccountQuota } from "../accounts/quota.ts";
import { dayEndMs, dayOf, stopsWorkers, usedUpOf, type AccountId } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { UsageDayStore } from "./day-store.ts";

const Count = z.int().nonnegative();

/** What an account used today (UTC) of what it may use on a day, as the API and `atoll account usage` tell it. */
export const AccountDay = z.object({
  day: z.iso.date(),
  /** When the next one begins, and everything is served again. */
  endsAt: z.iso.datetime(),
  requests: Count,
  requestsMax: Count.nullable(),
  cpuMs: z.number().nonnegative(),
  cpuMsMax: Count.nullable(),
  /** Nothing is left of one of the two: requests get a page that says so. */
  isUsedUp: z.boolean(),
  /** Keys that workers and calls of the API read from KV, and their listings: where nothing is left, such calls are refused. */
  kvReads: Count,
  kvReadsMax: Count.nullable(),
  kvLists: Count,
  kvListsMax: Count.nullable(),
});
export type AccountDay = z.infer<typeof AccountDay>;

/** What an account used on the day of a moment, as far as nodes have told and calls are stored. */
export async function readAccountDay(
  database: Database,
  of: { readonly account: AccountId; readonly quota: AccountQuota; readonly nowMs: number },
): Promise<AccountDay> {
  const { account, quota, nowMs } = of;
  const day = dayOf(nowMs);
  const used = await new UsageDayStore().total(database, { day, account });
  const bounds = dayBounds(quota);
  return {
    day,
    endsAt: new Date(dayEndMs(nowMs)).toISOString(),
    requests: used.requests,
    cpuMs: used.cpuUs / 1_000,
    kvReads: used.kvReads,
    kvLists: used.kvLists,
    ...bounds,
    isUsedUp: stopsWorkers(usedUpOf(bounds, used)),
  };
}
