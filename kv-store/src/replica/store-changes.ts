import { KvError } from "../errors.ts";
import type { HistoryPoint, Revision, StateDigest } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import type { ContentCheck } from "./content-check.ts";
import { EMPTY_SIZE } from "./extent-plan.ts";
import { isDamage } from "./lmdb-errors.ts";
import { withoutValue } from "./partial-entry.ts";
import type { StoreAction, StoreOptions } from "./replica.ts";
import type { ChangePlan } from "./shared-transactions.ts";
import type { Changes, SlotEntries } from "./slot-entries.ts";
import { SlotTally } from "./slot-tally.ts";
import {
  ENTRY_FORM,
  NO_COPY,
  sizeOfPart,
  type Collected,
  type Held,
  type StoredCopy,
} from "./stored-copy.ts";

export interface StoreChangesOptions {
  readonly entries: SlotEntries;
  /** Told of what changes under it. */
  readonly check: ContentCheck;
  /** A slot that was never used. */
  readonly nextSlot: () => number;
}

/** What is stored after an action, and why it is not what the action should have led to. */
interface Applied {
  readonly next: StoredCopy;
  readonly damage?: KvError;
}

/**
 * What each action writes, as a part of the caller's transaction. Fails with `replica_behind` when it does not
 * fit what is stored, and with `replica_damaged` when a batch does not lead to the state that it promises; then the
 * caller's transaction keeps nothing.
 */
export class StoreChanges {
  readonly #options: StoreChangesOptions;

  constructor(options: StoreChangesOptions) {
    this.#options = options;
  }

  /**
   * Writes what the action brings, and returns what is stored then. A snapshot that proves damaged, of which nothing
   * was written yet, is forgotten here and not behind what was handed over since: that may be of another one.
   */
  apply(stored: StoredCopy, action: StoreAction): Applied {
    try {
      return { next: this.#apply(stored, action) };
    } catch (error) {
      if (!action.kind.startsWith("snapshot") || !isDamage(error)) throw error;
      const { held, isPartial } = stored;
      return { next: { held, isPartial }, damage: error };
    }
  }

  #apply(stored: StoredCopy, action: StoreAction): StoredCopy {
    const { held, snapshot, isPartial } = stored;
    switch (action.kind) {
      case "batch":
        return { ...stored, held: this.#extend(held, action, isPartial) };
      case "snapshot-start": {
        const { revision, digest } = action;
        const slot = this.#options.nextSlot();
        const place = { slot, form: ENTRY_FORM, size: EMPTY_SIZE } as const;
        const begun = { ...place, revision, digest, after: null, sum: EMPTY_STATE };
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
    const { slot, form } = held;
    const { entries, check } = this.#options;
    const tally = tallyOf(held);
    entries.apply(slot, kept(changesOf(batch), isPartial), {
      came: (key, record) => {
        tally.came(key, record);
        check.changed(slot, key, record);
      },
      left: (key, record) => {
        tally.left(key, record);
        check.changed(slot, key, record);
      },
    });
    if (tally.digest !== batch.digest) throw damage(batch, tally.digest);
    return { slot, form, revision: batch.revision, digest: batch.digest, size: tally.size };
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
    this.#options.entries.apply(snapshot.slot, kept(page, isPartial), tally);
    return { ...snapshot, after: page.through, sum: tally.digest, size: tally.size };
  }

  #collectBatch(
    snapshot: Collected | undefined,
    batch: StoreAction & { kind: "snapshot-batch" },
    isPartial: boolean,
  ): Collected {
    if (snapshot?.revision !== batch.after) throw misfit(batch, snapshot);
    const tally = tallyOf({ ...snapshot, digest: snapshot.sum });
    this.#options.entries.apply(snapshot.slot, kept(changesOf(batch), isPartial), tally);
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
  const { slot, form, size } = snapshot;
  return { slot, form, size, revision, digest };
}

/** Only batches ever gather: the pieces of a snapshot come one after another, and the next when there is room for it. */
export function planOf(action: StoreAction, { isAwaited = true }: StoreOptions = {}): ChangePlan {
  const operationCount = "operations" in action ? action.operations.length : 1;
  return { operationCount, isAwaited: isAwaited || action.kind !== "batch" };
}

/** The operations of a batch: each is the revision behind the one before. */
function changesOf({
  after,
  operations,
}: StoreAction & { kind: "batch" | "snapshot-batch" }): Changes {
  return { operations, revisions: operations.map((_, index) => after + 1 + index) };
}

/** What becomes of changes where values may be absent. */
function kept({ operations, revisions }: Changes, isPartial: boolean): Changes {
  return { operations: isPartial ? operations.map(withoutValue) : operations, revisions };
}

/** Of what a part holds, to go on from there. */
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
