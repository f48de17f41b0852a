import { z } from "zod";
import { SCHEDULED_OUTCOMES, WorkerName, type AccountId } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";

/** Body of `PUT schedules`: all of the worker's. wrangler sends nothing but `cron`. */
export const SchedulesRequest = z
  .array(z.object({ cron: z.string().max(LIMITS.cronCharactersMax) }))
  .max(LIMITS.schedulesMax * 2, "more schedules than a worker may have");
export type SchedulesRequest = z.infer<typeof SchedulesRequest>;

/** Query of `GET schedules` of an account. Unknown fields are refused. */
export const SchedulesQuery = z.strictObject({ worker: WorkerName.optional() });
export type SchedulesQuery = z.infer<typeof SchedulesQuery>;

/** What became of an attempt: told by its node, or `nodeLost` when that was not heard of any more. */
const OCCURRENCE_OUTCOMES = [...SCHEDULED_OUTCOMES, "nodeLost"] as const;
export type OccurrenceOutcome = (typeof OCCURRENCE_OUTCOMES)[number];

/** One time that a schedule came to. */
export const OccurrenceStatus = z.object({
  scheduledAt: z.string(),
  /** Waits for a node or its next attempt; a node has it; it has its outcome; nobody ran it in time. */
  state: z.enum(["pending", "claimed", "ended", "missed"]),
  attempts: z.int().nonnegative(),
  /** Where the latest attempt is or was. */
  node: z.string().nullable(),
  /** Of the latest attempt that has ended. */
  outcome: z.enum(OCCURRENCE_OUTCOMES).nullable(),
  wallMs: z.int().nonnegative().nullable(),
  endedAt: z.string().nullable(),
});
export type OccurrenceStatus = z.infer<typeof OccurrenceStatus>;

/** A schedule with its latest occurrences, the newest first. */
export const ScheduleStatus = z.object({
  worker: z.string(),
  cron: z.string(),
  createdAt: z.string(),
  nextAt: z.string(),
  occurrences: z.array(OccurrenceStatus),
});
export type ScheduleStatus = z.infer<typeof ScheduleStatus>;

/** A schedule as it is stored. */
export interface StoredSchedule {
  readonly id: string;
  readonly cron: string;
  readonly createdAt: string;
  readonly nextAt: string;
}

/** An occurrence that is given to a node, or was. */
export interface RunnableOccurrence {
  readonly id: string;
  readonly account: AccountId;
  readonly worker: WorkerName;
  readonly cron: string;
  readonly scheduledAt: string;
  readonly attempts: number;
}
