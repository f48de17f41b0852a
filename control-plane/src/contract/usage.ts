import { z } from "zod";
import { VersionId } from "./names.ts";
import { WorkerKey } from "./worker-key.ts";

/**
 * What is counted of a worker's version, and adds up. Bytes are those of bodies and, once a WebSocket is
 * agreed on, all that it carries: heads and the ingress's own pages count nothing.
 */
export const USAGE_SUMS = [
  /** Requests that were routed to the worker and have ended, WebSockets included. */
  "requests",
  /** Those of them that were answered with status 500 or above, by the worker or for it. */
  "errors",
  /** From a request's head to the end of its answer, each request to the millisecond. */
  "wallMs",
  /** From clients. */
  "bytesIn",
  /** To clients. */
  "bytesOut",
  /** Processor time of its cells, without what a process took before it was given the worker. */
  "cpuUs",
  /** Requests and connections that its cells asked the egress for, refused ones included. */
  "subrequests",
  /** What those sent and received, heads included, as the egress has seen it on the cell's side. */
  "subrequestBytesOut",
  "subrequestBytesIn",
  /** Calls of KV bindings that succeeded; reading several keys at once is a read of each. */
  "kvReads",
  "kvWrites",
  "kvDeletes",
  "kvLists",
] as const;
export type UsageSum = (typeof USAGE_SUMS)[number];

/** Values of everything that is counted. */
export type UsageCounts = Readonly<Record<UsageSum, number>> & {
  /** The most memory that one of its cells held since its start. A maximum: it does not add up. */
  readonly memoryPeakBytes: number;
};

/** How many rows a batch has at most: some hundred kilobytes, written and stored in one step. */
export const USAGE_BATCH_ROWS_MAX = 2_000;

const Count = z.int().nonnegative();
const Counts = z.object({
  ...(Object.fromEntries(USAGE_SUMS.map((name) => [name, Count])) as Record<
    UsageSum,
    typeof Count
  >),
  memoryPeakBytes: Count,
});

/** What one version of a worker used on a node within an hour, as far as one batch tells it. */
export const UsageRow = Counts.extend({
  worker: WorkerKey,
  version: VersionId,
  /** The hour's beginning, by the node's clock. */
  hour: z.string().regex(/^\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):00:00\.000Z$/),
  /** The version has no code: it counts for no quota by day. Nodes of an older version don't tell. */
  isStatic: z.boolean().default(false),
});
export type UsageRow = z.infer<typeof UsageRow>;

/** Tells the rows of a batch apart: it has one for each version and hour. */
export function usageRowKey({
  worker,
  version,
  hour,
}: Pick<UsageRow, "worker" | "version" | "hour">): string {
  return `${worker} ${version} ${hour}`;
}

/**
 * A part of a node's usage. Batches are numbered by their node, from 1 and rising; what has a number that
 * was seen is seen already, so it may be sent any number of times and counts once.
 */
export const UsageBatch = z.object({
  sequence: z.int().positive(),
  rows: z
    .array(UsageRow)
    .min(1)
    .max(USAGE_BATCH_ROWS_MAX)
    .refine(hasDistinctKeys, "two rows of a batch are of the same version and hour"),
});
export type UsageBatch = z.infer<typeof UsageBatch>;

function hasDistinctKeys(rows: ReadonlyArray<UsageRow>): boolean {
  return new Set(rows.map(usageRowKey)).size === rows.length;
}
