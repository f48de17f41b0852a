import { KvError } from "../errors.ts";

/** What SQLite or its disk refused; an error of this package stays as it is. */
export function storageError(what: string, cause: unknown): KvError {
  if (cause instanceof KvError) return cause;
  const detail = cause instanceof Error ? cause.message : String(cause);
  return new KvError("storage_failed", `${what}: ${detail}`, { cause });
}
