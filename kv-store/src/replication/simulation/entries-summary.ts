import { isRemovable } from "../../replica/partial-entry.ts";
import type { Entries, SimulatedEntry } from "./simulated-history.ts";

/** What is looked for in entries again and again, at each look of each node that holds them. */
export interface EntriesSummary {
  /** When entries expire, in seconds; each time once. */
  readonly expiries: ReadonlyArray<number>;
  /** Those without their values. */
  readonly absent: ReadonlyArray<SimulatedEntry>;
  /** Whether there are values that may be absent. */
  readonly isHeavy: boolean;
}

// Entries never change, so this is what they are for good. A weak map would cost the garbage collector more.
const summaries = new Map<Entries, EntriesSummary>();
const SUMMARIES_MAX = 300;

export function summaryOf(entries: Entries): EntriesSummary {
  const known = summaries.get(entries);
  if (known !== undefined) return known;
  const expiries = new Set<number>();
  const absent: SimulatedEntry[] = [];
  let isHeavy = false;
  for (const entry of entries.values()) {
    const { expiresAt, value } = entry.put;
    if (expiresAt !== undefined) expiries.add(expiresAt);
    if (value.kind === "absent") absent.push(entry);
    else isHeavy ||= isRemovable(entry.put);
  }
  const summary = { expiries: [...expiries], absent, isHeavy };
  if (summaries.size >= SUMMARIES_MAX) summaries.clear();
  summaries.set(entries, summary);
  return summary;
}
