import { z } from "zod";
import { Key } from "../entry.ts";
import { HistoryPoint, StateDigest } from "../names.ts";
import { EMPTY_SIZE, type HeldSize } from "./extent-plan.ts";

const Bytes = z.number().int();
const Size = z.object({ bytes: Bytes, absentBytes: Bytes, removableBytes: Bytes });

/** The form of records in `slot-entries.ts`: another number with each change of it. */
export const ENTRY_FORM = 2;

/** Entries that are under this slot's number, and the point to which they were led. */
export const Held = HistoryPoint.extend({
  slot: z.number().int().positive(),
  /** What they take. An earlier version did not count it. */
  size: Size.optional(),
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
  /** Both hold values only as far as they must: see `extent-plan.ts`. */
  isPartial: z.boolean().default(false),
});
export type StoredCopy = z.infer<typeof StoredCopy>;

export const NO_COPY: StoredCopy = { isPartial: false };

export function slotsOf({ held, snapshot }: StoredCopy): number[] {
  return [held, snapshot].flatMap((part) => part?.slot ?? []);
}

export function sizeOfPart(part: Held | undefined): HeldSize {
  return part?.size ?? EMPTY_SIZE;
}

/** What all of it takes. */
export function sizeOfCopy({ held, snapshot }: StoredCopy): HeldSize {
  const sizes = [sizeOfPart(held), sizeOfPart(snapshot)];
  const sum = (of: (size: HeldSize) => number): number =>
    sizes.reduce((bytes, size) => bytes + of(size), 0);
  return {
    bytes: sum(({ bytes }) => bytes),
    absentBytes: sum(({ absentBytes }) => absentBytes),
    removableBytes: sum(({ removableBytes }) => removableBytes),
  };
}
