import { LIMITS } from "../limits.ts";

/** How much of each namespace's history is kept: what is older, or more, leaves the log. */
export interface LogHorizon {
  readonly ageMs: number;
  /** Of operations and of what they replaced. */
  readonly bytesMax: number;
}

export const DEFAULT_HORIZON: LogHorizon = {
  ageMs: LIMITS.logAgeMs,
  bytesMax: LIMITS.logBytesMax,
};

/** What a namespace's log holds: the records after `log_start`, up to `revision`. */
export interface LogExtent {
  readonly revision: number;
  readonly log_start: number;
  readonly log_bytes: number;
}

/** Where the log should start now that `added` records came to it; `undefined` when it stays as it is. */
export function nextLogStart(
  { revision, log_start, log_bytes }: LogExtent,
  { added, bytesMax }: { readonly added: number; readonly bytesMax: number },
): number | undefined {
  if (log_bytes <= bytesMax) return undefined;
  // Never more than half: records that are few and large leave some to catch up by.
  const half = Math.floor((revision - log_start) / 2);
  if (half === 0) return undefined;
  return log_start + Math.min(half, Math.max(LIMITS.logTrimRecordsMax, 2 * added));
}

/**
 * Bytes that a log may have, given when the namespace was last rewritten by a restore: one that is going on must not
 * cut off what it restores from.
 */
export function bytesMaxOf(
  { bytesMax }: Pick<LogHorizon, "bytesMax">,
  { rewrittenMs, nowMs }: { readonly rewrittenMs: number; readonly nowMs: number },
): number {
  const sinceMs = nowMs - rewrittenMs;
  const isGoingOn = sinceMs >= 0 && sinceMs < LIMITS.logHoldMs;
  return isGoingOn ? LIMITS.logRestoreFactor * bytesMax : bytesMax;
}

/**
 * Whether a reader of the log is so far behind that a snapshot is cheaper. One that `isHeld` has a reader
 * that is taking a snapshot already, and needs all that the log has.
 */
export function isFarBehind(
  after: number,
  head: { readonly revision: number; readonly keys: number },
  { isHeld }: { readonly isHeld: boolean },
): boolean {
  if (isHeld) return false;
  return head.revision - after > Math.max(LIMITS.logCatchUpRecordsMax, head.keys);
}

/**
 * The last revision from `start` to `head` that was committed by `atMs`, given that `start` was. Commit times
 * never go back within a namespace, so that few are looked at. `commitMsOf` says `undefined` for what has left
 * the log meanwhile, which is older than all that has not.
 */
export async function lastRevisionBy(
  atMs: number,
  { start, head }: { readonly start: number; readonly head: number },
  commitMsOf: (revision: number) => Promise<number | undefined>,
): Promise<number> {
  let [known, unknown] = [start, head + 1];
  while (unknown - known > 1) {
    const middle = Math.floor((known + unknown) / 2);
    const commitMs = await commitMsOf(middle);
    if (commitMs === undefined || commitMs <= atMs) known = middle;
    else unknown = middle;
  }
  return known;
}
