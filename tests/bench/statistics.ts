/**
 * The smallest sample that is not below `share` of all samples (nearest rank), so that every answer is
 * a value that was really measured. Throws when there are no samples.
 */
export function percentile(samples: ReadonlyArray<number>, share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const found = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (found === undefined) throw new Error("there are no samples");
  return found;
}

export function median(samples: ReadonlyArray<number>): number {
  return percentile(samples, 0.5);
}

export function mean(samples: ReadonlyArray<number>): number {
  if (samples.length === 0) throw new Error("there are no samples");
  return samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
}
