import { KvError } from "../errors.ts";

/** Whether the disk has changed what was stored. */
export function isDamage(error: unknown): error is KvError {
  return error instanceof KvError && error.code === "replica_damaged";
}

/** What LMDB or its disk refused. */
export function storageError(what: string, cause: unknown): KvError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new KvError("storage_failed", `${what}: ${detail}`, { cause });
}
