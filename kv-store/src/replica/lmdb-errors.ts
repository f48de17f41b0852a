import { KvError } from "../errors.ts";

/** Whether the disk has changed what was stored. */
export function isDamage(error: unknown): error is KvError {
  return error instanceof KvError && error.code === "replica_damaged";
}

/**
 * Whether LMDB has given up its files, reads included, until a process opens them anew. It does so when the page
 * that says where the newest state is could not be written: it can't know which of two states is on the disk.
 */
export function isGivenUp(error: unknown): boolean {
  return error instanceof Error && error.message.includes("MDB_PANIC");
}

/** What LMDB or its disk refused. */
export function storageError(what: string, cause: unknown): KvError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new KvError("storage_failed", `${what}: ${detail}`, { cause });
}
