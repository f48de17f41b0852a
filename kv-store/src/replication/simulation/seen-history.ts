import type { Holding } from "./simulated-disk.ts";
import type { SimulatedHistory } from "./simulated-history.ts";

/** What was last seen of one namespace on one node. */
export interface Seen {
  readonly holding: Holding;
  readonly freshMs: number | null;
  /** The first of the origin's histories that it can be of, and of how many. */
  readonly history: number;
  readonly of: number;
}

/**
 * The first history that what is held can be of: never an earlier revision than before, and never one of a
 * history again that was replaced.
 */
export function historyOf(
  holding: Holding,
  parts: {
    readonly histories: ReadonlyArray<SimulatedHistory>;
    readonly before: Seen | undefined;
    readonly where: string;
  },
): number {
  const { histories, before, where } = parts;
  const { revision } = holding;
  const first = before?.history ?? 0;
  const history = histories.findIndex((each, index) => {
    const isLater = index > first || revision >= (before?.holding.revision ?? 0);
    return index >= first && isLater && isStateOf(each, holding);
  });
  if (history !== -1) return history;
  if (!histories.some((each) => isStateOf(each, holding))) {
    throw new Error(`${where}: shows what is not the state as of ${revision}`);
  }
  throw new Error(`${where}: went back from ${before?.holding.revision} to ${revision}`);
}

/** Whether what is held is what the history had led to; of a damaged disk, whether it was. */
export function isStateOf(
  history: SimulatedHistory,
  { revision, digest, entries, isDamaged }: Holding,
): boolean {
  if (history.states[revision]?.digest !== digest) return false;
  return isDamaged || history.isState(revision, entries);
}
