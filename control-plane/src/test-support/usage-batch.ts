import { USAGE_SUMS, UsageBatch, type AccountId } from "../contract/index.ts";

/** A node's first batch of usage, with one row: everything that adds up is 1. */
export function usageBatchOf(account: AccountId): UsageBatch {
  const row = {
    ...Object.fromEntries(USAGE_SUMS.map((name) => [name, 1])),
    ...{ memoryPeakBytes: 1, worker: `${account}/hello` },
    ...{ version: "11111111-1111-4111-8111-111111111111", hour: "2026-11-20T12:00:00.000Z" },
  };
  return UsageBatch.parse({ sequence: 1, rows: [row] });
}
