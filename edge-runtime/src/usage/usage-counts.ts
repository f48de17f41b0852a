import {
  USAGE_SUMS,
  type UsageCounts,
  type VersionId,
  type WorkerKey,
} from "@atoll/control-plane/contract";

/** Whose usage it is. */
export interface UsageOwner {
  readonly worker: WorkerKey;
  readonly version: VersionId;
  /** It has no code, and is charged to no quota. */
  readonly isStatic?: boolean;
}

/** Counts that grow. */
export type MutableCounts = { -readonly [Name in keyof UsageCounts]: number };

export function noCounts(): MutableCounts {
  const sums = Object.fromEntries(USAGE_SUMS.map((name) => [name, 0]));
  // `fromEntries` forgets the names that it was given.
  return { ...(sums as Record<(typeof USAGE_SUMS)[number], number>), memoryPeakBytes: 0 };
}

/** Adds to sums, and raises the peak. */
export function addCounts(to: MutableCounts, added: Partial<UsageCounts>): void {
  for (const name of USAGE_SUMS) to[name] += added[name] ?? 0;
  to.memoryPeakBytes = Math.max(to.memoryPeakBytes, added.memoryPeakBytes ?? 0);
}

/**
 * Divides a whole number in proportion to weights, so that the parts are whole and add up to it. All of it
 * is the first one's when no weight is above 0.
 */
export function divide(whole: number, weights: ReadonlyArray<number>): ReadonlyArray<number> {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  if (sum === 0) return weights.map((_, index) => (index === 0 ? whole : 0));
  let weightSoFar = 0;
  let given = 0;
  return weights.map((weight) => {
    weightSoFar += weight;
    const part = Math.round(whole * (weightSoFar / sum)) - given;
    given += part;
    return part;
  });
}
