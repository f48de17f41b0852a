import { totalmem } from "node:os";
import { LIMITS } from "../limits.ts";

/**
 * What all cells of a node may take together unless somebody says, in bytes: a part of what the agent itself
 * may use, and of that the share of one of so many nodes on this machine.
 */
export function defaultMemoryBudget(nodesOnMachine = 1): number {
  // 0 where nothing constrains the process; a control group without a limit tells an absurd number.
  const constrained = process.constrainedMemory();
  const bytes = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return Math.floor((bytes * LIMITS.memoryBudgetShare) / nodesOnMachine);
}
