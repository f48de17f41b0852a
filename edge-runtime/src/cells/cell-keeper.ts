import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { Turnstile } from "../config/turnstile.ts";
import { LIMITS } from "../limits.ts";
import type { CellGroup } from "./cell-group.ts";
import type { CellHost } from "./cell-host.ts";
import { chooseSleepers } from "./memory-policy.ts";
import {
  cellsWanted,
  followLoad,
  mayGrow,
  mayHaveSeveralCells,
  NO_TREND,
  type LoadTrend,
} from "./scale-policy.ts";
import type { WarmCell } from "./warm-cell.ts";

export interface CellKeeperOptions {
  /** Samples cells. */
  readonly host: Pick<CellHost, "sample">;
  /** The groups that serve now. */
  readonly groups: () => ReadonlySet<CellGroup>;
  /** What all cells together may take. */
  readonly memoryBudgetBytes: number;
  /** Processors that cells can run on. */
  readonly cores: number;
  /** How many of them had nothing to do since this was asked before. */
  readonly spareCores: () => number;
  readonly clock: Clock;
  readonly log: Logger;
}

interface GroupCell {
  readonly group: CellGroup;
  readonly cell: WarmCell;
}

/**
 * Keeps as many cells warm as it is worth. One timer looks at all of them: who was idle for long goes to
 * sleep, and when all together take more than the budget, who was used least recently. Groups that are more
 * than a core's work get further cells, and lose them again. It also starts ahead what was never used, where
 * there is room.
 */
export class CellKeeper {
  readonly #options: CellKeeperOptions;
  readonly #prewarms = new Turnstile(LIMITS.prewarmsMax);
  /** How busy groups were; a group that is no more takes its entry with it. */
  readonly #trends = new WeakMap<CellGroup, LoadTrend>();
  readonly #stopLooking: () => void;
  /** What a look began and did not end yet: it asks the ingress. */
  #keeping: Promise<void> | undefined;
  #isStopped = false;

  constructor(options: CellKeeperOptions) {
    this.#options = options;
    this.#stopLooking = options.clock.every(LIMITS.cellLookMs, () => this.#look());
  }

  /**
   * Starts groups that were deployed and not used yet, so that their first request is warm: in the
   * background, a few at a time, while there is room. Nothing makes room for them, and they are the first to
   * go when room is needed.
   */
  prewarm(groups: Iterable<CellGroup>): void {
    for (const group of groups) {
      this.#prewarms
        .run(() => this.#prewarm(group))
        .catch((error: unknown) => {
          this.#options.log.warn({ err: error }, "a cell could not be started ahead of its use");
        });
    }
  }

  /** Ends looking; resolves when nothing is under way. May be called twice. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#stopLooking();
    await this.#keeping;
  }

  async #prewarm(group: CellGroup): Promise<void> {
    const { groups, memoryBudgetBytes } = this.#options;
    if (this.#isStopped || group.isInUse || !groups().has(group)) return;
    const bytes = this.#cells().reduce((sum, { cell }) => sum + cell.activity.memoryBytes, 0);
    if (bytes + LIMITS.idleCellMemoryBytes <= memoryBudgetBytes) await group.prewarm();
  }

  #look(): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#options.host.sample();
    for (const { group, cell } of this.#cells()) {
      cell.activity.look(nowMs);
      if (cell.events.counts.inFlight > 0) cell.activity.noteUse(nowMs);
      if (nowMs - cell.activity.idleSinceMs < LIMITS.idleMs) continue;
      group.release(cell, "idle");
    }
    this.#keeping ??= this.#keep()
      .catch((error: unknown) => {
        this.#options.log.error({ err: error }, "could not look after the cells");
      })
      .finally(() => (this.#keeping = undefined));
  }

  async #keep(): Promise<void> {
    await this.#keepBudget();
    let spareCores = this.#options.spareCores();
    for (const group of this.#options.groups()) {
      if (await this.#scale(group, spareCores)) spareCores -= 1;
    }
  }

  /** Resolves with whether the group takes one more core. */
  async #scale(group: CellGroup, spareCores: number): Promise<boolean> {
    const { cells } = group;
    if (cells.length === 0 || !mayHaveSeveralCells(group.workers)) return false;
    const before = this.#trends.get(group) ?? NO_TREND;
    const trend = followLoad(
      before,
      cells.map((cell) => cell.activity.load),
      spareCores,
    );
    this.#trends.set(group, trend);
    const inFlight = mayGrow(trend)
      ? (await Promise.all(cells.map(inFlightTo))).reduce((a, b) => a + b, 0)
      : 0;
    const cellsMax = Math.min(this.#options.cores, LIMITS.workerCellsMax);
    const wanted = cellsWanted(trend, { cells: cells.length, inFlight, cellsMax });
    if (wanted === cells.length || this.#isStopped) return false;
    this.#trends.set(group, NO_TREND);
    const last = cells.at(-1);
    if (wanted > cells.length) void group.grow();
    else if (last !== undefined) group.release(last, "surplus");
    return wanted > cells.length;
  }

  async #keepBudget(): Promise<void> {
    const { memoryBudgetBytes } = this.#options;
    const cells = this.#cells().map((each) => ({
      ...each,
      bytes: each.cell.activity.memoryBytes,
      lastUseMs: each.cell.activity.lastUseMs,
    }));
    const bytes = cells.reduce((sum, each) => sum + each.bytes, 0);
    if (bytes <= memoryBudgetBytes) return;
    // Only who would have to go is asked about, until nobody of those is left that was not.
    const known = new Map<WarmCell, number>();
    for (;;) {
      const counted = cells.map((each) => ({ ...each, inFlight: known.get(each.cell) ?? 0 }));
      const chosen = chooseSleepers(counted, memoryBudgetBytes);
      const unknown = chosen.filter(({ cell }) => !known.has(cell));
      if (unknown.length === 0) {
        // A request that came meanwhile is waited for: what is out of use drains first.
        for (const { group, cell } of chosen) group.release(cell, "evicted");
        return;
      }
      const counts = unknown.map(async ({ cell }) => known.set(cell, await inFlightTo(cell)));
      await Promise.all(counts);
    }
  }

  #cells(): ReadonlyArray<GroupCell> {
    return [...this.#options.groups()].flatMap((group) =>
      group.cells.map((cell) => ({ group, cell })),
    );
  }
}

async function inFlightTo(cell: WarmCell): Promise<number> {
  return (await cell.requests()).inFlight;
}
