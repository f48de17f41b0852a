import type { HeldEntry, Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { decodeEntry, decodeKey, valueBytesOf } from "../record-codec.ts";
import { isDamage } from "./lmdb-errors.ts";
import { changeOf, keysBehind, type FetchedValue, type SlotEntries } from "./slot-entries.ts";
import { SlotTally } from "./slot-tally.ts";
import { tallyOf } from "./store-changes.ts";
import { sizeOfPart, type Held, type StoredCopy } from "./stored-copy.ts";

/** Entries whose values are absent, up to the key `last`; `undefined` when none follow. */
export interface AbsentPage {
  readonly entries: ReadonlyArray<HeldEntry>;
  readonly last: Key | undefined;
}

/** Removes the values of slots that may be without, some entries at a time, and counts what slots take. */
export class SlotValues {
  readonly #entries: SlotEntries;
  /** Up to which key each slot was stripped of its values, or was found to be without. */
  readonly #stripped = new Map<number, Buffer>();

  constructor(entries: SlotEntries) {
    this.#entries = entries;
  }

  /** Takes values from some entries of a partial copy, as part of the caller's transaction; the same if none is left. */
  strip(stored: StoredCopy): StoredCopy {
    const { held, snapshot, isPartial } = stored;
    if (!isPartial) return stored;
    if (sizeOfPart(held).removableBytes > 0) return { ...stored, held: held && this.#strip(held) };
    if (sizeOfPart(snapshot).removableBytes === 0) return stored;
    return { ...stored, snapshot: snapshot && this.#strip(snapshot) };
  }

  /** Puts values back, where their entries are still the same; as part of the caller's transaction. */
  fill(stored: StoredCopy, values: ReadonlyArray<FetchedValue>): StoredCopy {
    const { held, isPartial } = stored;
    if (held === undefined || isPartial) return stored;
    const tally = tallyOf(held);
    this.#entries.fill(held.slot, values, tally);
    return { ...stored, held: { ...held, size: tally.size } };
  }

  /** Looks behind a key, or from the first one, for entries whose values are absent, as far as in a moment. */
  absent(slot: number, after: Key | undefined): AbsentPage {
    const from = after === undefined ? undefined : Buffer.from(after, "utf8");
    const { found, isEnd } = this.#entries.some(slot, from);
    const entries: HeldEntry[] = [];
    for (const { key, record } of found) {
      const change = changeOf(record);
      if (valueBytesOf(change).absent === 0) continue;
      entries.push(decodeEntry(decodeKey(key), change));
      const last = entries.at(-1)?.key;
      if (entries.length >= LIMITS.replicaFillRowsMax) return { entries, last };
    }
    const last = found.at(-1)?.key;
    return { entries, last: isEnd || last === undefined ? undefined : decodeKey(last) };
  }

  #strip<Part extends Held>(part: Part): Part {
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
        for (const { key, record } of this.#entries.scan(part.slot, keysBehind(undefined))) {
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
