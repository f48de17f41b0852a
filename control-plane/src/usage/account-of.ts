import { AccountId, type UsageRow } from "../contract/index.ts";

/** The account whose usage a row is. */
export function accountOf({ worker }: Pick<UsageRow, "worker">): AccountId {
  return AccountId.parse(worker.split("/")[0]);
}
