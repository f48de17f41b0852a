import { readdir, readFile } from "node:fs/promises";

// Linux reports process times in ticks of USER_HZ, which is 100 on every architecture of ours.
const TICK_MS = 10;
// Fields of /proc/<pid>/stat counted from the state, which follows the name in parentheses.
const PARENT = 1;
// Own user and system time, then those of children that ended: what a process took stays counted.
const TIMES = [11, 12, 13, 14] as const;

interface ProcessTimes {
  readonly pid: number;
  readonly parent: number;
  readonly cpuMs: number;
}

/**
 * CPU time that a process and all its descendants have used, in milliseconds, in steps of 10 ms.
 * Differences of two readings hold for as long as no descendant is adopted by another process.
 */
export async function readTreeCpuMs(pid: number): Promise<number> {
  const tree = treeOf(pid, await readProcesses());
  if (tree.length === 0) throw new Error(`there is no process ${pid}`);
  return tree.reduce((sum, member) => sum + member.cpuMs, 0);
}

function treeOf(pid: number, processes: ReadonlyArray<ProcessTimes>): ReadonlyArray<ProcessTimes> {
  const root = processes.filter((process) => process.pid === pid);
  const children = processes.filter((process) => process.parent === pid);
  return [...root, ...children.flatMap((child) => treeOf(child.pid, processes))];
}

async function readProcesses(): Promise<ReadonlyArray<ProcessTimes>> {
  const names = await readdir("/proc");
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number);
  const processes = await Promise.all(pids.map(readTimes));
  return processes.filter((process) => process !== undefined);
}

async function readTimes(pid: number): Promise<ProcessTimes | undefined> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, "utf8");
  } catch {
    // The process ended after the directory was listed.
    return undefined;
  }
  // A process's name may hold spaces and parentheses: what counts starts after the last of them.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = TIMES.reduce((sum, position) => sum + Number(fields[position]), 0);
  return { pid, parent: Number(fields[PARENT]), cpuMs: ticks * TICK_MS };
}
