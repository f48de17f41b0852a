import type { CellEndReason, CellFault, NodeReport } from "@atoll/control-plane/contract";
import { LIMITS } from "../limits.ts";
import { type CellEnded, type CellListener, isFault } from "./cell-events.ts";

/** Keeps what a node's status tells of the ends of its cells. */
export class CellHistory implements CellListener {
  #faults: ReadonlyArray<CellFault> = [];
  readonly #counts = new Map<CellEndReason, number>();

  /** The latest that nobody wanted, newest last, and how many there were for each reason. */
  get ends(): Required<Pick<NodeReport, "cellFaults" | "cellEnds">> {
    return { cellFaults: [...this.#faults], cellEnds: Object.fromEntries(this.#counts) };
  }

  cellStarted(): void {
    // The status shows cells that run by themselves.
  }

  cellEnded({ atMs, members, reason }: CellEnded): void {
    this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + 1);
    if (!isFault(reason)) return;
    const workers = members.map(({ name }) => name);
    const fault = { at: new Date(atMs).toISOString(), workers, reason };
    this.#faults = [...this.#faults, fault].slice(-LIMITS.cellFaultsMax);
  }
}
