import type { Clock } from "@atoll/kv-store";
import { LIMITS } from "../limits.ts";
import { type CellLimits, type LimitBreach, processMemoryBytes } from "./cell-limits.ts";
import type { CellSample } from "./cell-sample.ts";
import type { CellSampler } from "./cell-sampler.ts";

/** A running cell, as the watchdog sees it. */
export interface WatchedCell {
  readonly limits: CellLimits;
  /** What is known of its process; all JavaScript runs on its main thread. */
  readonly sample: CellSample;
  /** Whether the kernel ends it when it takes too much memory. */
  readonly isMemoryLimited: boolean;
  /** Resolves when its health socket answered, which it does not while JavaScript holds the thread. */
  readonly probe: () => Promise<void>;
  /** Ends it at once. */
  readonly end: (breach: LimitBreach) => void;
}

interface Watch {
  readonly cell: WatchedCell;
  cpuMs: number;
  /** As of when that was so. */
  readAtMs: number;
  /** Its CPU time when it was last known to have come to an end of a turn. */
  turnedAtCpuMs: number;
  /** Its CPU time when a probe was sent that has no answer yet: all that it used since is one turn. */
  probedAtCpuMs: number | undefined;
}

const SAMPLE_TICKS = LIMITS.watchdogSampleMs / LIMITS.watchdogMs;

export interface CellWatchdogOptions {
  readonly clock: Clock;
  /** Keeps the samples of all cells that are watched. */
  readonly sampler: Pick<CellSampler, "sample">;
}

/**
 * Ends cells that exceed their limits, where nothing in workerd would. One timer serves all of them: cells
 * that work are read at each tick, all others are sampled together at some of them.
 *
 * A turn is measured by the CPU time that a cell uses between a probe of its health socket and the
 * answer. So a cell that waits for the machine is not taken for one that loops.
 */
export class CellWatchdog {
  readonly #options: CellWatchdogOptions;
  readonly #watches = new Set<Watch>();
  /** Those that used a good part of the time before the look before, or have to answer. Also in `#watches`. */
  readonly #busy = new Set<Watch>();
  /** Since the pace was set. */
  #ticks = 0;
  #timer: { readonly intervalMs: number; readonly stop: () => void } | undefined;

  constructor(options: CellWatchdogOptions) {
    this.#options = options;
  }

  /** Watches a cell, which is sampled, until the returned function is called. */
  watch(cell: WatchedCell): () => void {
    const cpuMs = cpuMsOf(cell);
    const { asOfMs: readAtMs } = cell.sample;
    const watch: Watch = { cell, cpuMs, readAtMs, turnedAtCpuMs: cpuMs, probedAtCpuMs: undefined };
    this.#watches.add(watch);
    this.#busy.add(watch);
    this.#setPace();
    return () => this.#forget(watch);
  }

  /** Has ticks come often while any cell works, seldom while none does, and not at all without cells. */
  #setPace(): void {
    const intervalMs = this.#busy.size > 0 ? LIMITS.watchdogMs : LIMITS.watchdogSampleMs;
    if (this.#watches.size > 0 && intervalMs === this.#timer?.intervalMs) return;
    this.#timer?.stop();
    this.#timer = undefined;
    if (this.#watches.size === 0) return;
    const stop = this.#options.clock.every(intervalMs, () => this.#tick());
    this.#timer = { intervalMs, stop };
    // Some of the interval before has passed, so the first tick looks at all.
    this.#ticks = 0;
  }

  #tick(): void {
    if (this.#busy.size === 0 || this.#ticks % SAMPLE_TICKS === 0) this.#lookAtAll();
    else this.#lookAtBusy();
    this.#ticks += 1;
    this.#setPace();
  }

  #lookAtAll(): void {
    this.#options.sampler.sample();
    for (const watch of this.#watches) this.#look(watch);
  }

  #lookAtBusy(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const watch of this.#busy) {
      watch.cell.sample.read(nowMs);
      this.#look(watch);
    }
  }

  #look(watch: Watch): void {
    const { cell, cpuMs: beforeMs, readAtMs } = watch;
    const cpuMs = cpuMsOf(cell);
    const { asOfMs } = cell.sample;
    const isBusy = cpuMs - beforeMs >= (asOfMs - readAtMs) * LIMITS.watchdogBusyShare;
    watch.cpuMs = cpuMs;
    watch.readAtMs = asOfMs;
    // Also a cell that hardly gets any time stays under close watch until it answered.
    if (isBusy || watch.probedAtCpuMs !== undefined) this.#busy.add(watch);
    else this.#busy.delete(watch);
    if (isBusy && exceedsMemory(cell)) this.#end(watch, "exceededMemory");
    else if (watch.probedAtCpuMs !== undefined) this.#judge(watch, watch.probedAtCpuMs);
    else if (!isBusy) watch.turnedAtCpuMs = cpuMs;
    else if (cpuMs - watch.turnedAtCpuMs >= probeAfterMs(cell)) this.#probe(watch);
  }

  #judge(watch: Watch, probedAtCpuMs: number): void {
    if (watch.cpuMs - probedAtCpuMs >= watch.cell.limits.cpuMs) this.#end(watch, "exceededCpu");
  }

  #probe(watch: Watch): void {
    watch.probedAtCpuMs = watch.cpuMs;
    const answered = (): void => {
      watch.probedAtCpuMs = undefined;
      watch.cell.sample.read(this.#options.clock.monotonicMs());
      watch.turnedAtCpuMs = cpuMsOf(watch.cell);
    };
    // A probe that could not be made says nothing: the next one is sent by the same rule.
    watch.cell.probe().then(answered, () => (watch.probedAtCpuMs = undefined));
  }

  #end(watch: Watch, breach: LimitBreach): void {
    this.#forget(watch);
    watch.cell.end(breach);
  }

  #forget(watch: Watch): void {
    this.#watches.delete(watch);
    this.#busy.delete(watch);
    this.#setPace();
  }
}

/** How much time a cell may use before it is asked whether it still answers. */
function probeAfterMs({ limits }: WatchedCell): number {
  return Math.min(limits.cpuMs / 4, LIMITS.watchdogProbeCpuMs);
}

function exceedsMemory({ sample, limits, isMemoryLimited }: WatchedCell): boolean {
  return !isMemoryLimited && sample.memoryBytes > processMemoryBytes(limits);
}

/** As of the latest sample. */
function cpuMsOf({ sample }: WatchedCell): number {
  return sample.times.ranNs / 1e6;
}
