import { TailEvent } from "@atoll/control-plane/contract";
import { z } from "zod";

/**
 * An event as a cell tells it: whose it is, the node knows better. `hidden` are the request's headers that
 * workerd shows to nobody: they are filtered by, and go no further.
 */
const CellEvent = TailEvent.omit({ scriptName: true, scriptVersion: true }).extend({
  hidden: z.record(z.string(), z.string()).optional(),
});
export type CellEvent = z.infer<typeof CellEvent>;

/** What a cell tells with one call. */
export const CellEvents = z.object({
  /** Events that came besides and could not be kept. */
  dropped: z.int().nonnegative(),
  events: z.array(CellEvent).max(1_000),
});
export type CellEvents = z.infer<typeof CellEvents>;
