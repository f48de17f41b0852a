import { setTimeout } from "node:timers/promises";
import type { CellLoss } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";
import { wasKilled } from "./cell-host.ts";
import { BREACH_CODES } from "./cell-limits.ts";
import type { WarmCell } from "./warm-cell.ts";

/** The cell behind each socket path that was published, until a while after its end. */
export class PublishedCells {
  readonly #cellAt = new Map<string, WarmCell>();

  /** Keeps a cell findable by its socket for requests that it breaks off. */
  add(cell: WarmCell, socketPath: string): void {
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
