import type { ProcessCounters, ThreadTimes } from "./process-table.ts";

/**
 * What is known of a cell's process, which costs nothing to ask for. `CellSampler` keeps it up to date; once
 * the process is gone it stays as it was.
 */
export class CellSample {
  readonly #process: Pick<ProcessCounters, "times" | "memoryBytes">;
  #times: ThreadTimes = { ranNs: 0, waitedNs: 0 };
  #asOfMs = 0;
  #memory: { readonly bytes: number; readonly ranNs: number } | undefined;

  constructor(process: Pick<ProcessCounters, "times" | "memoryBytes">) {
    this.#process = process;
  }

  /** Of its main thread. */
  get times(): ThreadTimes {
    return this.#times;
  }

  /** When that was so. */
  get asOfMs(): number {
    return this.#asOfMs;
  }

  /** Memory that is its own. Read when it is asked for, if the process has run since it was read. */
  get memoryBytes(): number {
    const { ranNs } = this.#times;
    if (this.#memory?.ranNs !== ranNs) {
      const bytes = this.#process.memoryBytes() ?? this.#memory?.bytes ?? 0;
      this.#memory = { bytes, ranNs };
    }
    return this.#memory.bytes;
  }

  /** Reads the process, whatever else is known. */
  read(nowMs: number): void {
    this.#times = this.#process.times() ?? this.#times;
    this.#asOfMs = nowMs;
  }

  /** What was read is still so, because it has not run since. */
  confirm(nowMs: number): void {
    this.#asOfMs = nowMs;
  }
}
