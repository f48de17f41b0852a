import { z } from "zod";
import { Key } from "../entry.ts";
import { HistoryPoint, StateDigest } from "../names.ts";

/** The form of records in `slot-entries.ts`: another number with each change of it. */
export const ENTRY_FORM = 2;

/** Entries that are under this slot's number, and the point to which they were led. */
export const Held = HistoryPoint.extend({
  slot: z.number().int().positive(),
  /** Of the entries' records: what an earlier version stored can't be read. */
  form: z.literal(ENTRY_FORM),
});
export type Held = z.infer<typeof Held>;

/** The keys up to `after` of a snapshot, with the log up to its point put over them. */
export const Collected = Held.extend({
  after: Key.nullable(),
  /** Of the entries that are there: the state as of the point only once the last of them has come. */
  sum: StateDigest,
});
export type Collected = z.infer<typeof Collected>;

/** A namespace on disk: the slots that its entries are under, and how far each is. */
export const StoredCopy = z.object({
  /** What is read. Absent before the first snapshot has ended. */
  held: Held.optional(),
  /** The snapshot that is being collected. */
  snapshot: Collected.optional(),
});
export type StoredCopy = z.infer<typeof StoredCopy>;

export function slotsOf({ held, snapshot }: StoredCopy): number[] {
  return [held, snapshot].flatMap((part) => part?.slot ?? []);
}
