import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { Turnstile } from "../config/turnstile.ts";
import type { Ingress } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";
import type { CellGroup } from "./cell-group.ts";
import { chooseSleepers } from "./memory-policy.ts";
import type { WarmCell } from "./warm-cell.ts";

export interface CellKeeperOptions {
  /** The groups that serve now. */
  readonly groups: () => ReadonlySet<CellGroup>;
  readonly ingress: Pick<Ingress, "requestsOf">;
  /** What all cells together may take. */
  readonly memoryBudgetBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
}

interface GroupCell {
  readonly group: CellGroup;
  readonly cell: WarmCell;
}

/**
 * Keeps cells warm as long as it is worth their memory. One timer looks at all of them: who was idle for
 * long goes to sleep, and when all together take more than the budget, who was used least recently. It also
 * starts ahead what was never used, where there is room.
 */
export class CellKeeper {
  readonly #options: CellKeeperOptions;
  readonly #prewarms = new Turnstile(LIMITS.prewarmsMax);
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
    const nowMs = this.#options.clock.nowMs();
    for (const { cell } of this.#cells()) cell.activity.look(nowMs);
    for (const { group, cell } of this.#cells()) {
      if (nowMs - cell.activity.idleSinceMs < LIMITS.idleMs) continue;
      this.#options.log.info({ pid: cell.pid }, "a cell was idle and is stopped");
      group.release(cell);
    }
    this.#keeping ??= this.#keepBudget()
      .catch((error: unknown) => {
        this.#options.log.error({ err: error }, "could not look after the cells");
      })
      .finally(() => (this.#keeping = undefined));
  }

  async #keepBudget(): Promise<void> {
    const { memoryBudgetBytes, log } = this.#options;
    const cells = this.#cells().map((each) => ({
      ...each,
      bytes: each.cell.activity.memoryBytes,
      lastUseMs: each.cell.activity.lastUseMs,
    }));
    const bytes = cells.reduce((sum, each) => sum + each.bytes, 0);
    if (bytes <= memoryBudgetBytes) return;
    const counted = await Promise.all(
      cells.map(async (each) => ({ ...each, inFlight: await this.#inFlight(each.cell) })),
    );
    for (const { group, cell } of chooseSleepers(counted, memoryBudgetBytes)) {
      log.info({ pid: cell.pid, bytes, memoryBudgetBytes }, "a cell is stopped for its memory");
      // A request that came meanwhile is waited for: what is out of use drains first.
      group.release(cell);
    }
  }

  async #inFlight(cell: WarmCell): Promise<number> {
    const { ingress } = this.#options;
    const counts = await Promise.all(cell.socketPaths.map((path) => ingress.requestsOf(path)));
    return counts.reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  #cells(): ReadonlyArray<GroupCell> {
    return [...this.#options.groups()].flatMap((group) =>
      group.cells.map((cell) => ({ group, cell })),
    );
  }
}
