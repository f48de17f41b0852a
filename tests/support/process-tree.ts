import { readdir, readFile } from "node:fs/promises";

/** What the kernel says of a process that has not ended. */
export interface RunningProcess {
  readonly pid: number;
  readonly parent: number;
  /** Name of its program, at most 15 characters. */
  readonly program: string;
  /** What it and its children that ended have used, in steps of 10 ms. */
  readonly cpuMs: number;
}

// Linux reports process times in ticks of USER_HZ, which is 100 on every architecture of ours.
const TICK_MS = 10;
// Fields of /proc/<pid>/stat counted from the state, which follows the name in parentheses.
const PARENT = 1;
// Own user and system time, then those of children that ended: what a process took stays counted.
const TIMES = [11, 12, 13, 14] as const;

/** A process and all its descendants, itself first; nothing when it has ended. */
export async function readProcessTree(pid: number): Promise<ReadonlyArray<RunningProcess>> {
  const names = await readdir("/proc");
  const all = await Promise.all(names.filter((name) => /^\d+$/.test(name)).map(readRunning));
  const running = all.filter((process) => process !== undefined);
  return treeOf(pid, running);
}

function treeOf(
  pid: number,
  running: ReadonlyArray<RunningProcess>,
): ReadonlyArray<RunningProcess> {
  const root = running.filter((process) => process.pid === pid);
  const children = running.filter((process) => process.parent === pid);
  return [...root, ...children.flatMap((child) => treeOf(child.pid, running))];
}

async function readRunning(pid: string): Promise<RunningProcess | undefined> {
  // A process that ended after the directory was listed has no status any more.
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // A process's name may hold spaces and parentheses: what counts starts after the last of them.
  const nameEnd = stat.lastIndexOf(")");
  const fields = stat.slice(nameEnd + 2).split(" ");
  const [state] = fields;
  // A zombie holds nothing: it only waits for whoever adopted it.
  if (nameEnd === -1 || state === "Z") return undefined;
  const ticks = TIMES.reduce((sum, position) => sum + Number(fields[position]), 0);
  return {
    pid: Number(pid),
    parent: Number(fields[PARENT]),
    program: stat.slice(stat.indexOf("(") + 1, nameEnd),
    cpuMs: ticks * TICK_MS,
  };
}
