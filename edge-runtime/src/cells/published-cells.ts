import { setTimeout } from "node:timers/promises";
import type { CellLoss, Ingress } from "../ingress/ingress.ts";
import { type TargetKey, workerOfTarget } from "../ingress/target-key.ts";
import { LIMITS } from "../limits.ts";
import { wasKilled } from "./cell-host.ts";
import { BREACH_CODES } from "./cell-limits.ts";
import type { WarmCell } from "./warm-cell.ts";

/**
 * Tells the ingress where targets listen, and knows the cell behind each socket path that was published, until
 * a while after its end.
 */
export class PublishedCells {
  readonly #ingress: Pick<Ingress, "publish">;
  /** What the ingress was told last. */
  readonly #told = new Map<TargetKey, ReadonlyArray<string>>();
  readonly #cellAt = new Map<string, WarmCell>();

  constructor(ingress: Pick<Ingress, "publish">) {
    this.#ingress = ingress;
  }

  /** Makes these a target's cells, unless they are already. */
  publish(target: TargetKey, cells: ReadonlyArray<WarmCell>): void {
    const worker = workerOfTarget(target);
    const socketPaths = cells.map((cell) => cell.socketPath(worker));
    if (socketPaths.join() === (this.#told.get(target) ?? []).join()) return;
    for (const cell of cells) this.#add(cell, cell.socketPath(worker));
    if (cells.length === 0) this.#told.delete(target);
    else this.#told.set(target, socketPaths);
    this.#ingress.publish(target, socketPaths);
  }

  /** Keeps a cell findable by its socket for requests that it breaks off. */
  #add(cell: WarmCell, socketPath: string): void {
    if (this.#cellAt.has(socketPath)) return;
    this.#cellAt.set(socketPath, cell);
    void cell.ended.then(async () => {
      await setTimeout(LIMITS.lossMemoryMs, undefined, { ref: false });
      this.#cellAt.delete(socketPath);
    });
  }

  /** As `Activator.lossOf`. */
  async lossOf(socketPath: string): Promise<CellLoss | undefined> {
    const cell = this.#cellAt.get(socketPath);
    if (cell === undefined) return undefined;
    if (!cell.isEnding) return "alive";
    const exit = await cell.endSoon();
    if (exit?.breach !== undefined) return BREACH_CODES[exit.breach];
    return exit !== undefined && wasKilled(exit) ? "killed" : undefined;
  }
}
