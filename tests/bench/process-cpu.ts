import { readFile } from "node:fs/promises";
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

/** CPU time of those children of this process that have ended, and of theirs, in steps of 10 ms. */
export async function readChildrenCpuMs(): Promise<number> {
  const stat = await readFile("/proc/self/stat", "utf8");
  // The name of the program, in brackets, may hold spaces; the two are the 16th and 17th fields.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10;
}
