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
