import { KvError } from "../errors.ts";

/** Whether the disk has changed what was stored. */
export function isDamage(error: unknown): error is KvError {
  return error instanceof KvError && error.code === "replica_damaged";
}

/** Why a commit failed. LMDB's error has a promise of that, which would end the process if nobody looked. */
export async function commitError(error: unknown): Promise<unknown> {
  const { commitError: reason } = error as { readonly commitError?: Promise<never> };
  if (reason === undefined) return error;
  const known = reason.catch((cause: unknown) => cause);
  // It is there at once, or never.
  return Promise.race([known, new Promise((resolve) => setImmediate(() => resolve(error)))]);
}

/** What LMDB or its disk refused. */
export function storageError(what: string, cause: unknown): KvError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new KvError("storage_failed", `${what}: ${detail}`, { cause });
}
