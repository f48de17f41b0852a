import { KvError } from "../errors.ts";

/** Calls that may have a bound by day where they are answered; writes are counted where they are ordered. */
export type DailyUse = "read" | "list";

const REFUSALS = {
  read: ["daily_reads_exceeded", "get()", "reads"],
  list: ["daily_lists_exceeded", "list()", "lists"],
} as const satisfies Record<DailyUse, unknown>;

/** What a call is refused with for which the account's day has nothing left. */
export function dailyRefusal(use: DailyUse, bound: number): KvError {
  const [code, call, what] = REFUSALS[use];
  const text = `Too Many Requests: KV ${call} limit exceeded for the day. The account may make ${bound} ${what} until midnight UTC.`;
  return new KvError(code, text);
}
