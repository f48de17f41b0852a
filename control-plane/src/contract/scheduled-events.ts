import { z } from "zod";
import { WorkerKey } from "./worker-key.ts";

/** Runs that a node may have at a time, more than any control plane gives it: bounds a message. */
export const SCHEDULED_RUNS_MAX = 1_000;

/** One attempt at one occurrence of a schedule. */
export const ScheduledRun = z.object({
  occurrence: z.string().min(1).max(200),
  attempt: z.int().positive(),
});
export type ScheduledRun = z.infer<typeof ScheduledRun>;

/** A call of a worker's `scheduled()`. */
export const ScheduledEvent = z.object({
  run: ScheduledRun,
  worker: WorkerKey,
  /** As it was written. */
  cron: z.string(),
  /** When it was to happen, which is when it happens unless it is late. */
  scheduledMs: z.int().nonnegative(),
});
export type ScheduledEvent = z.infer<typeof ScheduledEvent>;

/**
 * How a call ended: well, or with an exception of its own; because the cell was ended for a limit, or the call
 * took too long; not at all, because the account had used up its day; because the cell was lost for another
 * reason, or could not be had.
 */
export const SCHEDULED_OUTCOMES = [
  "ok",
  "exception",
  "exceededCpu",
  "exceededMemory",
  "exceededTime",
  "dayQuotaExceeded",
  "cellLost",
  "unavailable",
] as const;
export type ScheduledOutcome = (typeof SCHEDULED_OUTCOMES)[number];

export const ScheduledEnd = z.object({
  run: ScheduledRun,
  outcome: z.enum(SCHEDULED_OUTCOMES),
  /** The worker asked for no further attempt, with `controller.noRetry()`. */
  isFinal: z.boolean(),
  wallMs: z.int().nonnegative(),
});
export type ScheduledEnd = z.infer<typeof ScheduledEnd>;
