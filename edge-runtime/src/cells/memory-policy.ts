import { totalmem } from "node:os";
import { LIMITS } from "../limits.ts";

/** What the choice depends on. */
export interface KeptCell {
  /** `-Infinity`: never. */
  readonly lastUseMs: number;
  readonly bytes: number;
  /** Requests and WebSockets. */
  readonly inFlight: number;
}

/**
 * Which cells to put to sleep so that the others fit the budget: the least recently used first, and no more
 * than it takes. Never one that has something in flight, even when the rest does not fit then.
 */
export function chooseSleepers<Cell extends KeptCell>(
  cells: ReadonlyArray<Cell>,
  budgetBytes: number,
): ReadonlyArray<Cell> {
  const idle = cells.filter(({ inFlight }) => inFlight === 0);
  const chosen: Cell[] = [];
  let bytes = cells.reduce((sum, cell) => sum + cell.bytes, 0);
  for (const cell of idle.toSorted((a, b) => a.lastUseMs - b.lastUseMs)) {
    if (bytes <= budgetBytes) break;
    chosen.push(cell);
    bytes -= cell.bytes;
  }
  return chosen;
}

/** What all cells of a node may take unless somebody says: a part of what the agent itself may use. */
export function defaultMemoryBudget(): number {
  // 0 where nothing constrains the process; a control group without a limit tells an absurd number.
  const constrained = process.constrainedMemory();
  const bytes = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return Math.floor(bytes * LIMITS.memoryBudgetShare);
}
