import type { HeldOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import type { HistoryPoint, Revision, StateDigest } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import type { ContentCheck } from "./content-check.ts";
import { EMPTY_SIZE } from "./extent-plan.ts";
import { withoutValue } from "./partial-entry.ts";
import type { StoreAction } from "./replica.ts";
import type { SlotEntries } from "./slot-entries.ts";
import { SlotTally } from "./slot-tally.ts";
import { NO_COPY, sizeOfPart, type Collected, type Held, type StoredCopy } from "./stored-copy.ts";

/** What each action makes of a namespace's copy, as part of the caller's transaction. */
export class CopyChanges {
  readonly #entries: SlotEntries;
  readonly #check: ContentCheck;
  readonly #newSlot: () => number;

  constructor(parts: {
    readonly entries: SlotEntries;
    readonly check: ContentCheck;
    /** A number that no slot ever had. */
    readonly newSlot: () => number;
  }) {
    this.#entries = parts.entries;
    this.#check = parts.check;
    this.#newSlot = parts.newSlot;
  }

  /** Writes what the action brings, and returns what is stored then. Fails as `Replica.store` does. */
  apply(stored: StoredCopy, action: StoreAction): StoredCopy {
    const { held, snapshot, isPartial } = stored;
    switch (action.kind) {
      case "batch":
        return { ...stored, held: this.#extend(held, action, isPartial) };
      case "snapshot-start": {
        const { revision, digest } = action;
        const slot = this.#newSlot();
        const begun = { slot, revision, digest, after: null, sum: EMPTY_STATE, size: EMPTY_SIZE };
        return { ...stored, snapshot: begun };
      }
      case "snapshot-page":
        return { ...stored, snapshot: this.#collectPage(snapshot, action, isPartial) };
      case "snapshot-batch":
        return { ...stored, snapshot: this.#collectBatch(snapshot, action, isPartial) };
      case "snapshot-end":
        return { held: completed(snapshot, action), isPartial };
      case "drop":
        return NO_COPY;
    }
  }

  #extend(
    held: Held | undefined,
    batch: StoreAction & { kind: "batch" },
    isPartial: boolean,
  ): Held {
    if (held?.revision !== batch.after) throw misfit(batch, held);
    const { slot } = held;
    const tally = tallyOf(held);
    try {
      this.#entries.apply(slot, stored(batch.operations, isPartial), {
        came: (key, record) => {
          tally.came(key, record);
          this.#check.changed(slot, key, record);
        },
        left: (key, record) => {
          tally.left(key, record);
          this.#check.changed(slot, key, record);
        },
      });
      if (tally.digest !== batch.digest) throw damage(batch, tally.digest);
    } catch (error) {
      this.#check.restart();
      throw error;
    }
    return { slot, revision: batch.revision, digest: batch.digest, size: tally.size };
  }

  #collectPage(
    snapshot: Collected | undefined,
    page: StoreAction & { kind: "snapshot-page" },
    isPartial: boolean,
  ): Collected {
    if (snapshot?.after !== page.after) {
      throw behind(`a page behind ${page.after}`, `a snapshot up to ${snapshot?.after}`);
    }
    const tally = tallyOf({ ...snapshot, digest: snapshot.sum });
    this.#entries.apply(snapshot.slot, stored(page.operations, isPartial), tally);
    return { ...snapshot, after: page.through, sum: tally.digest, size: tally.size };
  }

  #collectBatch(
    snapshot: Collected | undefined,
    batch: StoreAction & { kind: "snapshot-batch" },
    isPartial: boolean,
  ): Collected {
    if (snapshot?.revision !== batch.after) throw misfit(batch, snapshot);
    const tally = tallyOf({ ...snapshot, digest: snapshot.sum });
    this.#entries.apply(snapshot.slot, stored(batch.operations, isPartial), tally);
    const { revision, digest } = batch;
    return { ...snapshot, revision, digest, sum: tally.digest, size: tally.size };
  }
}

function completed(
  snapshot: Collected | undefined,
  end: StoreAction & { kind: "snapshot-end" },
): Held {
  const { revision, digest, through } = end;
  if (snapshot?.revision !== revision || snapshot.after !== through) {
    throw behind(
      `the end of a snapshot at revision ${revision} and key ${through}`,
      `one at revision ${snapshot?.revision ?? "none"} and key ${snapshot?.after ?? "none"}`,
    );
  }
  if (snapshot.sum !== digest) throw damage(end, snapshot.sum);
  return { slot: snapshot.slot, revision, digest, size: snapshot.size };
}

/** What becomes of operations where values may be absent. */
function stored(
  operations: ReadonlyArray<HeldOperation>,
  isPartial: boolean,
): ReadonlyArray<HeldOperation> {
  return isPartial ? operations.map(withoutValue) : operations;
}

export function tallyOf(part: Held): SlotTally {
  return new SlotTally({ digest: part.digest, size: sizeOfPart(part) });
}

function misfit({ after }: { readonly after: Revision }, part: Held | undefined): KvError {
  return behind(`a batch after ${after}`, `revision ${part?.revision ?? "none"}`);
}

function behind(what: string, stored: string): KvError {
  return new KvError("replica_behind", `${what} does not fit ${stored}`);
}

function damage({ revision, digest }: HistoryPoint, actual: StateDigest): KvError {
  const here = `revision ${revision} leads to the state ${actual} here`;
  return new KvError("replica_damaged", `${here}, and to ${digest} at the origin`);
}
