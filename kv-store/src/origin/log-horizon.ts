import { LIMITS } from "../limits.ts";

/** What a namespace's log holds: the records after `log_start`, up to `revision`. */
export interface LogExtent {
  readonly revision: number;
  readonly log_start: number;
  readonly log_bytes: number;
}

/**
 * Where the log should start now that `added` records came to it; `undefined` when it stays as it is. One
 * that `isHeld` is bounded by its bytes alone.
 */
export function nextLogStart(
  { revision, log_start, log_bytes }: LogExtent,
  state: { readonly added: number; readonly isHeld: boolean },
): number | undefined {
  const count = revision - log_start;
  // Over its bytes, half of the records go: quicker than finding the exact place, and as good.
  const isTooLarge = log_bytes > LIMITS.logBytesMax;
  const kept = isTooLarge ? Math.floor(count / 2) : LIMITS.logRecordsMax;
  if (!isTooLarge && (state.isHeld || count - kept < LIMITS.logTrimRecordsMin)) return undefined;
  return log_start + Math.min(count - kept, Math.max(LIMITS.logTrimRecordsMax, 2 * state.added));
}
