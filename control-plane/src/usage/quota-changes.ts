import { latestNumber, nextNumber } from "../database/counters.ts";
import type { Database, Transaction } from "../database/database.ts";

/**
 * Each change of what an account may use, or has used on a day, has a number, and the rows that it changed carry
 * it. Whoever reads number 7 sees all that has a lower one, whichever control plane or command wrote it.
 */
const COUNTER = "quota_changes";

/** Before the first number, and before what has none. */
export const NOTHING_SEEN = -1;

/** The number of this change. Others wait from here to the commit: it comes last, or nearly so. */
export function nextQuotaChange(transaction: Transaction): Promise<number> {
  return nextNumber(transaction, COUNTER);
}

/** What is to be read by whoever has read up to `seen`: what has a number above `since`. `undefined` for nothing. */
export async function lookForQuotaChanges(
  database: Database,
  seen: number,
): Promise<{ readonly since: number; readonly now: number } | undefined> {
  const now = await latestNumber(database, COUNTER);
  if (now === seen) return undefined;
  // A database that was put back to an earlier time goes on from there: all of it is read again.
  return { now, since: now < seen ? NOTHING_SEEN : seen };
}
