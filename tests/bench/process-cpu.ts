import { readProcessTree } from "../support/process-tree.ts";

/** CPU time of a process under `""`, and of its descendants by the name of their program. */
type CpuByProgram = ReadonlyMap<string, number>;

/**
 * CPU time that a process and all its descendants have used, in milliseconds, in steps of 10 ms.
 * Differences of two readings hold for as long as no descendant is adopted by another process.
 */
export async function readTreeCpuMs(pid: number): Promise<number> {
  return [...(await readCpuMsByProgram(pid)).values()].reduce((sum, cpuMs) => sum + cpuMs, 0);
}

export async function readCpuMsByProgram(pid: number): Promise<CpuByProgram> {
  const tree = await readProcessTree(pid);
  if (tree.length === 0) throw new Error(`there is no process ${pid}`);
  const sums = new Map<string, number>();
  for (const member of tree) {
    const name = member.pid === pid ? "" : member.program;
    sums.set(name, (sums.get(name) ?? 0) + member.cpuMs);
  }
  return sums;
}
