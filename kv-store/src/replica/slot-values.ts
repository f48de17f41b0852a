import { tallyOf } from "./copy-changes.ts";
import { isDamage } from "./lmdb-errors.ts";
import { keysBehind, type SlotEntries } from "./slot-entries.ts";
import { SlotTally } from "./slot-tally.ts";
import type { Held, StoredCopy } from "./stored-copy.ts";

/** Removes the values of slots that may be without, some entries at a time, and counts what slots take. */
export class SlotValues {
  readonly #entries: SlotEntries;
  /** Up to which key each slot was stripped of its values, or was found to be without. */
  readonly #stripped = new Map<number, Buffer>();

  constructor(entries: SlotEntries) {
    this.#entries = entries;
  }

  /** Takes values from some entries of a slot, as part of the caller's transaction. */
  strip<Part extends Held>(part: Part): Part {
    const tally = tallyOf(part);
    const last = this.#entries.strip(part.slot, this.#stripped.get(part.slot), tally);
    // Once through, it begins anew: a value may have come in front of the place while it was whole.
    if (last === undefined) this.#stripped.delete(part.slot);
    else this.#stripped.set(part.slot, last);
    return { ...part, size: tally.size };
  }

  /** With the sizes that an earlier version did not count. */
  measured(stored: StoredCopy): StoredCopy {
    const parts = [stored.held, stored.snapshot];
    if (parts.every((part) => part === undefined || part.size !== undefined)) return stored;
    const measure = <Part extends Held>(part: Part | undefined): Part | undefined => {
      if (part === undefined || part.size !== undefined) return part;
      const tally = new SlotTally();
      try {
        for (const { key, record } of this.#entries.range(part.slot, keysBehind(undefined))) {
          tally.came(key, record);
        }
      } catch (error) {
        // The check in the background finds it, too, and then all of it is replaced.
        if (!isDamage(error)) throw error;
      }
      return { ...part, size: tally.size };
    };
    return { ...stored, held: measure(stored.held), snapshot: measure(stored.snapshot) };
  }

  /** A slot is gone. */
  forget(slot: number): void {
    this.#stripped.delete(slot);
  }
}
