import { once } from "node:events";
import { Worker } from "node:worker_threads";

export interface SeedOutcome {
  readonly seed: number;
  /** Zero where a promise was broken. */
  readonly simulatedMs: number;
  /** Of the processor, as far as one thread can tell. */
  readonly processorMs: number;
  /** Changes of the state, faults and reads. */
  readonly happened: number;
  /** What broke which promise; absent when none was broken. */
  readonly broken?: string;
}

export interface SeedRun {
  readonly first: number;
  readonly count: number;
  /** How many seeds run at the same time, each in a thread of its own. */
  readonly threads: number;
  readonly onOutcome: (outcome: SeedOutcome) => void;
}

// A seed leaves nothing but garbage behind: most of it dies before it is looked at.
const YOUNG_MB = 128;

/**
 * Runs so many seeds, until one breaks a promise: no further one is begun then, and those that had been are
 * run to their end, so that of all broken ones the lowest is among the outcomes.
 */
export async function runSeeds({ first, count, threads, onOutcome }: SeedRun): Promise<void> {
  let next = first;
  let end = first + count;
  const work = async (): Promise<void> => {
    const worker = new Worker(new URL("./seed-worker.ts", import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
    });
    try {
      while (next < end) {
        const seed = next;
        next += 1;
        worker.postMessage(seed);
        const [outcome] = (await once(worker, "message")) as [SeedOutcome];
        if (outcome.broken !== undefined) end = next;
        onOutcome(outcome);
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.min(threads, count) }, work));
}
