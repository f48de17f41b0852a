import { KINDS, kindOf, type Kind } from "./seed-kind.ts";
import type { SeedOutcome } from "./seed-run.ts";

interface Sums {
  seeds: number;
  simulatedMs: number;
  processorMs: number;
  happened: number;
}

/** What many seeds took, of each kind by itself: days in which little happens would hide how long a minute takes. */
export class SeedTally {
  readonly #threads: number;
  readonly #startMs = performance.now();
  readonly #sums: Readonly<Record<Kind, Sums>> = {
    dense: { seeds: 0, simulatedMs: 0, processorMs: 0, happened: 0 },
    ordinary: { seeds: 0, simulatedMs: 0, processorMs: 0, happened: 0 },
    quiet: { seeds: 0, simulatedMs: 0, processorMs: 0, happened: 0 },
  };

  constructor(threads: number) {
    this.#threads = threads;
  }

  add({ seed, simulatedMs, processorMs, happened }: SeedOutcome): void {
    const sums = this.#sums[kindOf(seed)];
    sums.seeds += 1;
    sums.simulatedMs += simulatedMs;
    sums.processorMs += processorMs;
    sums.happened += happened;
  }

  get seeds(): number {
    return KINDS.reduce((sum, kind) => sum + this.#sums[kind].seeds, 0);
  }

  get #realSeconds(): number {
    return (performance.now() - this.#startMs) / 1_000;
  }

  /** In one line. */
  get progress(): string {
    const perSecond = this.seeds / this.#realSeconds;
    return `${this.seeds} seeds in ${this.#realSeconds.toFixed(0)} s, ${perSecond.toFixed(1)} each second`;
  }

  /** A line for each kind, and one for all. */
  lines(): string[] {
    const kinds = KINDS.filter((kind) => this.#sums[kind].seeds > 0);
    // What all threads did in their time is shared among the kinds as their own processor time is.
    const spentMs = kinds.reduce((sum, kind) => sum + this.#sums[kind].processorMs, 0);
    const { user, system } = process.cpuUsage();
    const processorSeconds = ((user + system) / 1_000_000).toFixed(0);
    return [
      ...kinds.map((kind) => this.#lineOf(kind, spentMs)),
      `${this.seeds} seeds in ${this.#realSeconds.toFixed(1)} s on ${this.#threads} threads, ${processorSeconds} s of the processor`,
    ];
  }

  #lineOf(kind: Kind, spentMs: number): string {
    const { seeds, simulatedMs, processorMs, happened } = this.#sums[kind];
    const realMs = (this.#realSeconds * 1_000 * processorMs) / spentMs;
    const each = {
      simulated: durationOf(simulatedMs / seeds),
      ms: (processorMs / seeds).toFixed(0),
      events: (happened / seeds).toFixed(0),
    };
    return (
      `${kind}: ${seeds} seeds of ${each.simulated}, ${each.events} events and ${each.ms} ms each; ` +
      `${durationOf(simulatedMs)} in all, ${times(simulatedMs, realMs)} times real time, ` +
      `${times(simulatedMs, processorMs)} times per thread's processor time`
    );
  }
}

function times(simulatedMs: number, realMs: number): string {
  return Math.round(simulatedMs / realMs).toLocaleString("en");
}

const UNITS = [
  ["days", 86_400_000],
  ["hours", 3_600_000],
  ["minutes", 60_000],
] as const;

function durationOf(ms: number): string {
  for (const [name, unitMs] of UNITS)
    if (ms >= 2 * unitMs) return `${(ms / unitMs).toFixed(1)} ${name}`;
  return `${Math.round(ms / 1_000)} seconds`;
}
