import type { CellStatus } from "@atoll/control-plane/contract";
import type { CellGroup } from "./cell-group.ts";
import type { WarmCell } from "./warm-cell.ts";

/** What status pages show of a cell. */
export function cellStatus(
  group: CellGroup,
  cell: WarmCell,
  state: CellStatus["state"],
): CellStatus {
  return {
    workers: group.workers.map((worker) => worker.name),
    version: group.workers.map((worker) => worker.version.id).join(","),
    state,
    pid: cell.pid,
    memoryBytes: cell.memoryBytes,
    cpuMs: cell.cpuMs,
  };
}
