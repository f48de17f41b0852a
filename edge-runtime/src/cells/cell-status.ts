import type { CellStatus } from "@atoll/control-plane/contract";
import type { CellGroup } from "./cell-group.ts";
import type { WarmCell } from "./warm-cell.ts";

/** Every cell of these groups, and those that drain. */
export function statusOf(
  groups: ReadonlyArray<CellGroup>,
  draining: ReadonlyArray<{ readonly group: CellGroup; readonly cell: WarmCell }>,
): ReadonlyArray<CellStatus> {
  return [
    ...groups.flatMap((group) => group.cells.map((cell) => cellStatus(group, cell, "warm"))),
    ...draining.map(({ group, cell }) => cellStatus(group, cell, "draining")),
  ];
}

/** Cells of these groups, and requests that wait for one. */
export function countsOf(groups: ReadonlyArray<CellGroup>): {
  readonly warm: number;
  readonly waiting: number;
} {
  return {
    warm: groups.reduce((sum, { cells }) => sum + cells.length, 0),
    waiting: groups.reduce((sum, { waiting }) => sum + waiting, 0),
  };
}

/** What status pages show of a cell. */
function cellStatus(group: CellGroup, cell: WarmCell, state: CellStatus["state"]): CellStatus {
  return {
    workers: group.workers.map((worker) => worker.name),
    version: group.workers.map((worker) => worker.version.id).join(","),
    state,
    pid: cell.pid,
    memoryBytes: cell.memoryBytes,
    cpuMs: cell.cpuMs,
  };
}
