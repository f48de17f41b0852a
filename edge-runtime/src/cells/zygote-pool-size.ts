import { LIMITS } from "../limits.ts";

/** How many starts there were lately: each counts less the longer it is ago. Replaced, never changed. */
export interface StartRate {
  readonly starts: number;
  /** When that many were counted. */
  readonly atMs: number;
}

export const NO_STARTS: StartRate = { starts: 0, atMs: 0 };

/** With one more start. */
export function noteStart(rate: StartRate, nowMs: number): StartRate {
  return { starts: recentStarts(rate, nowMs) + 1, atMs: nowMs };
}

/**
 * How many zygotes should wait: as many as were used lately, within bounds. So one burst is met by the pool
 * of quiet times, the next one by a larger pool, and when no more come it shrinks again.
 */
export function zygotesWanted(
  rate: StartRate,
  nowMs: number,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  return Math.min(Math.max(min, Math.round(recentStarts(rate, nowMs))), Math.max(min, max));
}

function recentStarts({ starts, atMs }: StartRate, nowMs: number): number {
  // A clock that was set back makes nothing more recent than now.
  return starts * 2 ** (-Math.max(0, nowMs - atMs) / LIMITS.zygoteRateHalfLifeMs);
}
