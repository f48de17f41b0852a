import { readFile } from "node:fs/promises";
import { KernelCounter, readKernelFile, TICK_MS } from "../sandbox/kernel-file.ts";

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

/** What is read of a process again and again. Whoever has it closes it. */
export class ProcessCounters {
  readonly #pid: number;
  readonly #schedule: KernelCounter;

  constructor(pid: number) {
    this.#pid = pid;
    this.#schedule = new KernelCounter(`/proc/${pid}/schedstat`);
  }

  /**
   * Times of the main thread, or `undefined` when the process is gone. All JavaScript and all sockets of
   * workerd are on that thread, so a cell that nobody called stands still to the nanosecond.
   */
  times(): ThreadTimes | undefined {
    const text = this.#schedule.read();
    if (text === undefined) return undefined;
    const [ranNs, waitedNs] = text.split(" ");
    return { ranNs: Number(ranNs), waitedNs: Number(waitedNs) };
  }

  /**
   * Nanoseconds that all threads ran, those that ended included, as exact as the kernel counts them: to 10 ms.
   * `undefined` when the process is gone.
   */
  cpuNs(): number | undefined {
    const stat = readKernelFile(`/proc/${this.#pid}/stat`);
    if (stat === undefined) return undefined;
    const fields = fieldsOf(stat);
    return (Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS])) * TICK_MS * 1e6;
  }

  /** Memory less what it maps of files, or `undefined` when the process is gone. */
  memoryBytes(): number | undefined {
    const [, resident, shared] = readKernelFile(`/proc/${this.#pid}/statm`)?.split(" ") ?? [];
    return resident === undefined ? undefined : (Number(resident) - Number(shared)) * PAGE_BYTES;
  }

  /** May be called twice. */
  close(): void {
    this.#schedule.close();
  }
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

async function readStat(pid: number): Promise<ReadonlyArray<string>> {
  return fieldsOf(await readFile(`/proc/${pid}/stat`, "utf8"));
}

function fieldsOf(stat: string): ReadonlyArray<string> {
  // A process's name may hold spaces and parentheses: what counts starts after the last of them.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}
