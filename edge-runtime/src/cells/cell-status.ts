import type { CellStatus } from "@atoll/control-plane/contract";
import type { CellGroup } from "./cell-group.ts";
import type { WarmCell } from "./warm-cell.ts";

/** What status pages show of a cell; `undefined` when there is no process any more. */
export async function cellStatus(
  group: CellGroup,
  cell: WarmCell,
  state: CellStatus["state"],
): Promise<CellStatus | undefined> {
  const usage = await cell.usage();
  if (usage === undefined) return undefined;
  return {
    workers: group.workers.map((worker) => worker.name),
    version: group.workers.map((worker) => worker.version.id).join(","),
    state,
    pid: cell.pid,
    ...usage,
  };
}
