import { LIMITS } from "../limits.ts";
import type { CellSample } from "./cell-sample.ts";
import type { ThreadTimes } from "./process-table.ts";

/** How much a cell's thread had to do, from 0 to 1. */
export interface CellLoad {
  /** The part of the time that it ran, or waited for a processor: with 1 it could not do more. */
  readonly busyShare: number;
  /** The part of the time that it ran. */
  readonly ranShare: number;
}

interface Look {
  readonly times: ThreadTimes;
  readonly asOfMs: number;
}

/**
 * What a cell did lately, as the kernel tells it: nobody has to count requests, whichever ingress is in
 * front. Whoever owns it looks from time to time.
 */
export class CellActivity {
  readonly #sample: CellSample;
  readonly #startedAtMs: number;
  #lastUseMs = -Infinity;
  /** As of the look before; absent before the first one. */
  #seen: Look | undefined;
  #load: CellLoad = { busyShare: 0, ranShare: 0 };
  #memoryBytes: number = LIMITS.idleCellMemoryBytes;

  constructor(sample: CellSample, startedAtMs: number) {
    this.#sample = sample;
    this.#startedAtMs = startedAtMs;
  }

  /** When it was last known to be used; `-Infinity`: never. A look finds out what happened since the one before. */
  get lastUseMs(): number {
    return this.#lastUseMs;
  }

  get idleSinceMs(): number {
    return Math.max(this.#lastUseMs, this.#startedAtMs);
  }

  /** Between the latest two looks. */
  get load(): CellLoad {
    return this.#load;
  }

  /** Memory that is its own; before the first look what an idle cell may take. */
  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  noteUse(nowMs: number): void {
    this.#lastUseMs = Math.max(this.#lastUseMs, nowMs);
  }

  /** Takes note of what was sampled since the look before. */
  look(nowMs: number): void {
    const { times, asOfMs } = this.#sample;
    const before = this.#seen;
    this.#seen = { times, asOfMs };
    this.#memoryBytes = this.#sample.memoryBytes;
    if (before === undefined) return;
    if (before.times.ranNs !== times.ranNs) this.noteUse(nowMs);
    this.#load = loadBetween(before, this.#seen);
  }
}

function loadBetween(before: Look, now: Look): CellLoad {
  const passedNs = (now.asOfMs - before.asOfMs) * 1e6;
  const shareOf = (ns: number): number => (passedNs > 0 ? Math.min(1, ns / passedNs) : 0);
  const ranNs = now.times.ranNs - before.times.ranNs;
  const waitedNs = now.times.waitedNs - before.times.waitedNs;
  return { busyShare: shareOf(ranNs + waitedNs), ranShare: shareOf(ranNs) };
}
