import type { Clock } from "@atoll/kv-store";
import { LIMITS } from "../limits.ts";
import { type CellLimits, type LimitBreach, processMemoryBytes } from "./cell-limits.ts";

/** A running cell, as the watchdog sees it. */
export interface WatchedCell {
  readonly limits: CellLimits;
  /** Nanoseconds that its main thread ran, which is where all JavaScript runs; `undefined` once gone. */
  readonly cpuNs: () => number | undefined;
  /** Memory that is its own; absent where the kernel watches over that. */
  readonly memoryBytes?: () => number | undefined;
  /** Resolves when its health socket answered, which it does not while JavaScript holds the thread. */
  readonly probe: () => Promise<void>;
  /** Ends it at once. */
  readonly end: (breach: LimitBreach) => void;
}

interface Watch {
  readonly cell: WatchedCell;
  cpuMs: number;
  /** When `cpuMs` was read. */
  readAtMs: number;
  /** Whether it has used a good part of the time since the look before, so that it is looked at often. */
  isBusy: boolean;
  /** Its CPU time when it was last known to have come to an end of a turn. */
  turnedAtCpuMs: number;
  /** Its CPU time when a probe was sent that has no answer yet: all that it used since is one turn. */
  probedAtCpuMs: number | undefined;
}

export interface CellWatchdogOptions {
  readonly clock: Clock;
  /** Whether any process of the machine is running just now. */
  readonly isMachineBusy: () => boolean;
}

/**
 * Ends cells that exceed their limits, where nothing in workerd would. One timer serves all of them, and
 * cells that do nothing cost next to nothing: they are looked at rarely, and not at all on a machine on
 * which nothing runs, because a loop is something that runs.
 *
 * A turn is measured by the CPU time that a cell uses between a probe of its health socket and the
 * answer. So a cell that waits for the machine is not taken for one that loops.
 */
export class CellWatchdog {
  readonly #options: CellWatchdogOptions;
  readonly #watches = new Set<Watch>();
  #ticks = 0;
  #stop: (() => void) | undefined;

  constructor(options: CellWatchdogOptions) {
    this.#options = options;
  }

  /** Watches a cell until the returned function is called. */
  watch(cell: WatchedCell): () => void {
    const cpuMs = readCpuMs(cell) ?? 0;
    const watch: Watch = {
      cell,
      cpuMs,
      readAtMs: this.#options.clock.monotonicMs(),
      isBusy: true,
      turnedAtCpuMs: cpuMs,
      probedAtCpuMs: undefined,
    };
    this.#watches.add(watch);
    this.#stop ??= this.#options.clock.every(LIMITS.watchdogMs, () => this.#tick());
    return () => {
      this.#watches.delete(watch);
      if (this.#watches.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }

  #tick(): void {
    this.#ticks += 1;
    const includesIdle = this.#isSweep();
    for (const watch of this.#watches) if (watch.isBusy || includesIdle) this.#look(watch);
  }

  /** Whether this tick looks at idle cells as well. */
  #isSweep(): boolean {
    if (this.#ticks % LIMITS.watchdogSweepTicks !== 0) return false;
    return this.#ticks % LIMITS.watchdogSureSweepTicks === 0 || this.#options.isMachineBusy();
  }

  #look(watch: Watch): void {
    const cpuMs = readCpuMs(watch.cell);
    // Gone, and whoever watches its end is about to say so.
    if (cpuMs === undefined) return;
    const nowMs = this.#options.clock.monotonicMs();
    const usedMs = cpuMs - watch.cpuMs;
    watch.isBusy = usedMs >= (nowMs - watch.readAtMs) * LIMITS.watchdogBusyShare;
    watch.cpuMs = cpuMs;
    watch.readAtMs = nowMs;
    if (watch.isBusy && this.#exceedsMemory(watch.cell)) this.#end(watch, "exceededMemory");
    else if (watch.probedAtCpuMs !== undefined) this.#judge(watch, watch.probedAtCpuMs);
    else if (!watch.isBusy) watch.turnedAtCpuMs = cpuMs;
    else if (cpuMs - watch.turnedAtCpuMs >= probeAfterMs(watch.cell)) this.#probe(watch);
  }

  #judge(watch: Watch, probedAtCpuMs: number): void {
    // Also a cell that hardly gets any time stays under close watch until it answered.
    watch.isBusy = true;
    if (watch.cpuMs - probedAtCpuMs >= watch.cell.limits.cpuMs) this.#end(watch, "exceededCpu");
  }

  #probe(watch: Watch): void {
    watch.probedAtCpuMs = watch.cpuMs;
    const answered = (): void => {
      watch.probedAtCpuMs = undefined;
      watch.turnedAtCpuMs = readCpuMs(watch.cell) ?? watch.cpuMs;
    };
    // A probe that could not be made says nothing: the next one is sent by the same rule.
    watch.cell.probe().then(answered, () => (watch.probedAtCpuMs = undefined));
  }

  #exceedsMemory({ limits, memoryBytes }: WatchedCell): boolean {
    const bytes = memoryBytes?.() ?? 0;
    return bytes > processMemoryBytes(limits);
  }

  #end(watch: Watch, breach: LimitBreach): void {
    this.#watches.delete(watch);
    watch.cell.end(breach);
  }
}

/** How much time a cell may use before it is asked whether it still answers. */
function probeAfterMs({ limits }: WatchedCell): number {
  return Math.min(limits.cpuMs / 4, LIMITS.watchdogProbeCpuMs);
}

function readCpuMs(cell: WatchedCell): number | undefined {
  const cpuNs = cell.cpuNs();
  return cpuNs === undefined ? undefined : cpuNs / 1e6;
}
