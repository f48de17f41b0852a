import { setImmediate } from "node:timers/promises";
import type { CellStopReason } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import type { Ingress } from "../ingress/ingress.ts";
import type { CellGroup } from "./cell-group.ts";
import type { WarmCell } from "./warm-cell.ts";

interface RetiringCell {
  readonly group: CellGroup;
  readonly cell: WarmCell;
}

/** Cells that are out of use: each finishes what it has, and is then stopped. */
export class RetiringCells {
  readonly #ingress: Pick<Ingress, "drain">;
  readonly #log: Logger;
  readonly #ends = new Map<RetiringCell, Promise<void>>();

  constructor(options: { readonly ingress: Pick<Ingress, "drain">; readonly log: Logger }) {
    this.#ingress = options.ingress;
    this.#log = options.log;
  }

  /** Those that have a process. */
  get all(): ReadonlyArray<RetiringCell> {
    return [...this.#ends.keys()];
  }

  add(retiring: RetiringCell, reason: CellStopReason): void {
    const end = this.#drainAndStop(retiring.cell, reason).finally(() =>
      this.#ends.delete(retiring),
    );
    this.#ends.set(retiring, end);
  }

  /** Resolves when none of those that are here now has a process any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#ends.values());
  }

  async #drainAndStop(cell: WarmCell, reason: CellStopReason): Promise<void> {
    try {
      // An activation that was answered just now has its request in flight a turn later.
      await setImmediate();
      const drained = cell.socketPaths.map((path) => this.#ingress.drain(path));
      await Promise.all([...drained, cell.events.drained()]);
    } catch (error) {
      this.#log.error({ err: error }, "a cell could not be drained and is stopped");
    }
    await cell.stop(reason);
  }
}
