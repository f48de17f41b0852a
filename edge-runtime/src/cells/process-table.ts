import { readFile } from "node:fs/promises";

/** What the kernel says of a running process. */
export interface ProcessUsage {
  /** Memory that is the process's own: not the pages of the binary that all cells share. */
  readonly memoryBytes: number;
  /** CPU time of all its threads since it started. */
  readonly cpuMs: number;
}

// Linux reports process times in ticks of USER_HZ, which is 100 on every architecture of ours.
const TICK_MS = 10;
// Fields of /proc/<pid>/stat counted from the state, which follows the name in parentheses.
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;
const START_TICKS = 19;

/** Usage of a process, or `undefined` when it is gone. */
export async function readUsage(pid: number): Promise<ProcessUsage | undefined> {
  try {
    const [fields, rollup] = await Promise.all([
      readStat(pid),
      readFile(`/proc/${pid}/smaps_rollup`, "utf8"),
    ]);
    const ticks = Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS]);
    return { memoryBytes: privateBytes(rollup), cpuMs: ticks * TICK_MS };
  } catch {
    // The process ended, before or between the two reads.
    return undefined;
  }
}

/**
 * When a process started, in ticks since boot, or `undefined` when there is none: together with the pid
 * it names one process for as long as the machine runs.
 */
export async function readStartTicks(pid: number): Promise<string | undefined> {
  try {
    return (await readStat(pid))[START_TICKS];
  } catch {
    return undefined;
  }
}

/**
 * Nanoseconds that the main thread of a process ran, or `undefined` when it is gone. All JavaScript and
 * all sockets of workerd are on that thread, so a cell that nobody called stands still to the nanosecond.
 */
export async function readMainThreadNs(pid: number): Promise<string | undefined> {
  try {
    return (await readFile(`/proc/${pid}/schedstat`, "utf8")).split(" ")[0];
  } catch {
    return undefined;
  }
}

async function readStat(pid: number): Promise<ReadonlyArray<string>> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // A process's name may hold spaces and parentheses: what counts starts after the last of them.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function privateBytes(rollup: string): number {
  const kibibytes = [...rollup.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)].map((match) =>
    Number(match[1]),
  );
  return kibibytes.reduce((sum, size) => sum + size, 0) * 1024;
}
