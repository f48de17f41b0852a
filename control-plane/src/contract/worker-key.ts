import { z } from "zod";
import type { AccountId, WorkerName } from "./names.ts";

/** Names a worker across accounts: `<account>/<worker>`, an `AccountId` and a `WorkerName`. */
export const WorkerKey = z
  .string()
  .regex(
    /^[0-9a-f]{32}\/[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/,
    "a worker's key is <account>/<worker>",
  );
export type WorkerKey = z.infer<typeof WorkerKey>;

// The form of a key is that of its parts, so they need no look of their own.

export function accountOfKey(key: WorkerKey): AccountId {
  return key.slice(0, key.indexOf("/")) as AccountId;
}

export function workerNameOfKey(key: WorkerKey): WorkerName {
  return key.slice(key.indexOf("/") + 1) as WorkerName;
}
