import { z } from "zod";
import { VersionId, WorkerName, type AccountId } from "../contract/index.ts";

/** Query of `GET usage`. Unknown fields are refused: a filter that is ignored tells too much. */
export const UsageQuery = z.strictObject({
  worker: WorkerName.optional(),
  /** The first hour, and the one before which it ends; both as moments, of which the hour counts. */
  from: z.iso.datetime({ offset: true }).optional(),
  to: z.iso.datetime({ offset: true }).optional(),
});
export type UsageQuery = z.infer<typeof UsageQuery>;

const Count = z.int().nonnegative();

/** What a version of a worker used in a period, on all nodes together. The contract says what is counted. */
export const WorkerUsage = z.object({
  worker: z.string(),
  version: VersionId,
  requests: Count,
  errors: Count,
  wallMs: Count,
  cpuMs: z.number().nonnegative(),
  memoryPeakBytes: Count,
  bytesIn: Count,
  bytesOut: Count,
  subrequests: Count,
  subrequestBytesOut: Count,
  subrequestBytesIn: Count,
  kvReads: Count,
  kvWrites: Count,
  kvDeletes: Count,
  kvLists: Count,
});
export type WorkerUsage = z.infer<typeof WorkerUsage>;

/** A span of whole hours, as the beginnings of its first hour and of the one that follows its last. */
export interface UsagePeriod {
  readonly from: string;
  readonly to: string;
}

export interface UsageFilter extends UsagePeriod {
  readonly account: AccountId;
  readonly worker: WorkerName | undefined;
}
