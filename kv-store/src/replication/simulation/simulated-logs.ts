import { LIMITS } from "../../limits.ts";
import { LogAging } from "../../origin/log-aging.ts";
import type { Random } from "./random.ts";
import type { Rhythm } from "./seed-kind.ts";
import type { SimulatedHistory } from "./simulated-history.ts";
import type { Timeline } from "./timeline.ts";

/** A log as `LogAging` sees it: `id` counts from 1. */
interface LogRow {
  readonly id: number;
  readonly namespace: string;
  readonly history: SimulatedHistory;
}

export interface SimulatedLogsOptions {
  readonly rhythm: Rhythm;
  readonly timeline: Timeline;
  /** Those that count now, always in the same order. */
  readonly histories: () => ReadonlyArray<SimulatedHistory>;
  /** The origin's wall clock. */
  readonly clockMs: () => number;
}

/**
 * How far back the logs of the origin reach. Where nothing else cuts them the real `LogAging` does, and what is
 * promised of their age is checked.
 */
export class SimulatedLogs {
  readonly #options: SimulatedLogsOptions;
  #aging: LogAging<LogRow>;
  /** The origin's monotonic clock was at zero then. */
  #startMs = 0;

  constructor(options: SimulatedLogsOptions) {
    this.#options = options;
    this.#aging = this.#start();
  }

  /** The origin's process began anew. */
  restarted(): void {
    this.#aging = this.#start();
  }

  #start(): LogAging<LogRow> {
    const { timeline, histories, clockMs } = this.#options;
    this.#startMs = timeline.nowMs;
    const rows = (): LogRow[] =>
      histories().map((history, index) => ({ id: index + 1, namespace: `${index}`, history }));
    return new LogAging<LogRow>({
      tables: { saveNamespace: () => undefined },
      history: {
        nextAged: (atMs, afterId) =>
          rows().find(
            ({ id, history }) => id > afterId && history.datedBy(atMs) > history.logStart,
          ),
        trimAged: ({ history }, atMs) => this.#trim(history, history.datedBy(atMs)),
      },
      clock: { nowMs: clockMs, monotonicMs: () => timeline.nowMs - this.#startMs },
      ageMs: LIMITS.logAgeMs,
      isHeld: (name) => isHeld(histories()[Number(name)], timeline.nowMs),
    });
  }

  /** Cuts what is too old. */
  age(): void {
    if (this.#options.rhythm.logCuts > 0) return;
    if (this.#aging.begin()) while (this.#aging.trimSome());
    for (const history of this.#options.histories()) this.#checkKept(history);
  }

  #trim(history: SimulatedHistory, end: number): boolean {
    if (isHeld(history, this.#options.timeline.nowMs)) {
      throw new Error("a log was cut by its age while somebody copies its namespace");
    }
    const start = Math.min(end, history.logStart + LIMITS.sweepRowsMax);
    history.logStart = start;
    return start < end;
  }

  /** A commit may have made a log too large, where it is not by their age alone that logs are cut. */
  cut(
    history: SimulatedHistory,
    { random, isFaulty }: { readonly random: Random; readonly isFaulty: boolean },
  ): void {
    const { rhythm, timeline } = this.#options;
    if (rhythm.logCuts === 0) return;
    // A held log has another bound, which a hostile world reaches, too.
    if (isHeld(history, timeline.nowMs) && !(isFaulty && random.chance(0.02))) return;
    if (random.chance(rhythm.logCuts)) {
      history.logStart = Math.max(history.logStart, history.revision - random.below(10));
    }
  }

  /** A log does not reach back behind this revision: only its age is a reason. */
  checkTruncated(history: SimulatedHistory, revision: number): void {
    const { rhythm, timeline } = this.#options;
    if (rhythm.logCuts > 0) return;
    const youngest = timeline.nowMs - LIMITS.logAgeMs + this.#toleranceMs;
    if (history.revisionAt(youngest) > revision) return;
    throw new Error(`the log was cut behind revision ${revision}, whose successor is not old`);
  }

  /** What is too old is gone. */
  #checkKept(history: SimulatedHistory): void {
    const { timeline } = this.#options;
    const old = history.revisionAt(timeline.nowMs - LIMITS.logAgeMs - this.#toleranceMs);
    if (old <= history.logStart || isHeld(history, timeline.nowMs)) return;
    throw new Error(`the log starts behind ${history.logStart}, and what is up to ${old} is old`);
  }

  /** The clock is wrong by so much, was when a record was committed, and a record has the date of one before it. */
  get #toleranceMs(): number {
    return 4 * this.#options.rhythm.clockErrorMs;
  }
}

function isHeld(history: SimulatedHistory | undefined, nowMs: number): boolean {
  return history !== undefined && history.heldUntilMs > nowMs;
}
