import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import type { SlotEntries } from "./slot-entries.ts";

export interface SlotSweepOptions {
  readonly entries: SlotEntries;
  readonly transaction: <Result>(action: () => Result) => Promise<Result>;
  /** Told of each slot that is about to be emptied. */
  readonly onBegin: (slot: number) => void;
  readonly log: Log;
}

/** Empties slots that nothing refers to any more, one after another, in the background. */
export class SlotSweep {
  readonly #options: SlotSweepOptions;
  /** Never rejected. */
  #sweeping: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: SlotSweepOptions) {
    this.#options = options;
  }

  begin(slot: number): void {
    this.#options.onBegin(slot);
    this.#sweeping = this.#sweeping
      .then(() => this.#empty(slot))
      .catch((err: unknown) => {
        // What is left takes space and is never read; the next start sweeps it.
        this.#options.log.warn({ err, slot }, "a dropped replica could not be removed from disk");
      });
  }

  /** Finds the slots that are not used, by leaping from each slot's first key to the next. Returns the last slot of all. */
  beginUnused(used: ReadonlySet<number>): number {
    const { entries } = this.#options;
    let last = Math.max(0, ...used);
    let slot = entries.nextUsedSlot(1);
    for (; slot !== undefined; slot = entries.nextUsedSlot(slot + 1)) {
      last = Math.max(last, slot);
      if (!used.has(slot)) this.begin(slot);
    }
    return last;
  }

  /** Resolves when nothing is under way. What is left is for the next start. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#sweeping;
  }

  async #empty(slot: number): Promise<void> {
    const { entries, transaction } = this.#options;
    while (!this.#isClosed) {
      if (await transaction(() => entries.removeSome(slot, LIMITS.replicaDropRowsMax))) return;
    }
  }
}
