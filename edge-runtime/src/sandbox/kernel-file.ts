import { closeSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { LIMITS } from "../limits.ts";

/**
 * What the kernel tells in a file of its own, of a process or of a group; `undefined` when that is gone, or
 * the kernel is older than the file. At once rather than later: for the few microseconds that it takes, a
 * promise costs several times more.
 */
export function readKernelFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Linux tells of processor time in ticks of USER_HZ, which is 100 on every architecture of ours. */
export const TICK_MS = 10;

/** The most files and sockets that this process, and any that it starts, can be allowed to have open. */
export function openFilesMax(): number {
  const [, hard = "1024"] =
    /^Max open files +\S+ +(\d+)/m.exec(readKernelFile("/proc/self/limits") ?? "") ?? [];
  return Number(hard);
}

/** Has the kernel, when the machine itself is out of memory, end this process before ours. */
export function endFirstWithoutMemory(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, `${LIMITS.cellOomScore}`, { flag: "r+" });
  } catch {
    // Gone already, or a host that does not let us: then the kernel ends what has most, as it would have.
  }
}

// Every counter that is read again and again stands in the first line, with at most four numbers of it.
const COUNTER_BYTES = 96;

/**
 * The beginning of a file of the kernel's that is read again and again, which takes a third of the time while
 * it stays open. It also stays with what it was opened for: a number that is given anew, as those of processes
 * are, does not lead it elsewhere.
 */
export class KernelCounter {
  readonly #buffer = Buffer.alloc(COUNTER_BYTES);
  #descriptor: number | undefined;

  constructor(path: string) {
    try {
      this.#descriptor = openSync(path, "r");
    } catch {
      // Gone already, or the kernel is older than the file: there is nothing to read.
    }
  }

  /** `undefined` as `readKernelFile` says, and once closed. */
  read(): string | undefined {
    if (this.#descriptor === undefined) return undefined;
    try {
      const length = readSync(this.#descriptor, this.#buffer, 0, COUNTER_BYTES, 0);
      return this.#buffer.toString("latin1", 0, length);
    } catch {
      return undefined;
    }
  }

  /** May be called twice. */
  close(): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}
