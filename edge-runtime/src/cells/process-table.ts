import { readFile } from "node:fs/promises";
import { readKernelFile } from "../sandbox/kernel-file.ts";

/** What the kernel says of a running process. */
export interface ProcessUsage {
  /** Memory that is the process's own: not the pages of the binary that all cells share. */
  readonly memoryBytes: number;
  /** CPU time of all its threads since it started. */
  readonly cpuMs: number;
}

// Linux reports process times in ticks of USER_HZ, which is 100 on every architecture of ours.
const TICK_MS = 10;
// Of x86-64, and of arm64 as distributions build it.
const PAGE_BYTES = 4_096;
// Fields of /proc/<pid>/stat counted from the state, which follows the name in parentheses.
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;
const START_TICKS = 19;
const FLAGS = 6;
// The kernel's PF_EXITING.
const EXITING = 0x4;
// Signals are counted from one.
const SIGKILL_BIT = 1n << 8n;

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

/** What the main thread of a process did since it started, in nanoseconds. */
export interface ThreadTimes {
  readonly ranNs: number;
  /** It had something to do, and waited for a processor. */
  readonly waitedNs: number;
}

/**
 * Times of the main thread of a process, or `undefined` when it is gone. All JavaScript and all sockets of
 * workerd are on that thread, so a cell that nobody called stands still to the nanosecond.
 */
export function mainThreadTimes(pid: number): ThreadTimes | undefined {
  const text = readKernelFile(`/proc/${pid}/schedstat`);
  if (text === undefined) return undefined;
  const [ranNs, waitedNs] = text.split(" ");
  return { ranNs: Number(ranNs), waitedNs: Number(waitedNs) };
}

/** Nanoseconds that the main thread of a process ran, or `undefined` when it is gone. */
export function mainThreadNs(pid: number): number | undefined {
  return mainThreadTimes(pid)?.ranNs;
}

/**
 * Nanoseconds that all threads of a process ran, those that ended included, as exact as the kernel counts
 * them: to 10 ms. `undefined` when it is gone.
 */
export function allThreadsNs(pid: number): number | undefined {
  const stat = readKernelFile(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const fields = fieldsOf(stat);
  return (Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS])) * TICK_MS * 1e6;
}

/** Memory of a process less what it maps of files, or `undefined` when it is gone. */
export function ownMemoryBytes(pid: number): number | undefined {
  const [, resident, shared] = readKernelFile(`/proc/${pid}/statm`)?.split(" ") ?? [];
  return resident === undefined ? undefined : (Number(resident) - Number(shared)) * PAGE_BYTES;
}

/**
 * Whether a process is on its way out, or gone: killed, and not yet rid of what it has open. Until then its
 * sockets accept connections that nobody will ever read from.
 */
export function isEnding(pid: number): boolean {
  const status = readKernelFile(`/proc/${pid}/status`) ?? "";
  if (!/^State:\t[^XZ]/m.test(status)) return true;
  const pending = [...status.matchAll(/^S(?:ig|hd)Pnd:\t([0-9a-f]+)$/gm)].map(
    ([, set]) => `0x${set}`,
  );
  if (pending.some((set) => (BigInt(set) & SIGKILL_BIT) !== 0n)) return true;
  const stat = readKernelFile(`/proc/${pid}/stat`) ?? "";
  const flags = fieldsOf(stat)[FLAGS];
  return flags === undefined || (Number(flags) & EXITING) !== 0;
}

/** Whether any process but this one runs at this moment, on the whole machine. */
export function isMachineBusy(): boolean {
  // `<three averages> <running>/<all> <newest pid>`; who reads it is running.
  const running = /^\S+ \S+ \S+ (\d+)\//.exec(readKernelFile("/proc/loadavg") ?? "")?.[1];
  return running === undefined || Number(running) > 1;
}

async function readStat(pid: number): Promise<ReadonlyArray<string>> {
  return fieldsOf(await readFile(`/proc/${pid}/stat`, "utf8"));
}

function fieldsOf(stat: string): ReadonlyArray<string> {
  // A process's name may hold spaces and parentheses: what counts starts after the last of them.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function privateBytes(rollup: string): number {
  const kibibytes = [...rollup.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)].map((match) =>
    Number(match[1]),
  );
  return kibibytes.reduce((sum, size) => sum + size, 0) * 1024;
}
