import { KvError } from "../errors.ts";
import type { HistoryPoint, Revision } from "../names.ts";
import { EMPTY_STATE, StateSum } from "../state-digest.ts";
import type { ContentCheck } from "./content-check.ts";
import type { StoreAction } from "./replica.ts";
import type { Changes, DigestListener, SlotEntries } from "./slot-entries.ts";
import { ENTRY_FORM, type Collected, type Held, type StoredCopy } from "./stored-copy.ts";

export interface StoreChangesOptions {
  readonly entries: SlotEntries;
  /** Told of what changes under it. */
  readonly check: ContentCheck;
  /** A slot that was never used. */
  readonly nextSlot: () => number;
}

/**
 * What each action writes, as a part of the caller's transaction. Fails with `replica_behind` when it does not
 * fit what is stored, and with `replica_damaged` when it does not lead to the state that it promises; then the
 * caller's transaction keeps nothing.
 */
export class StoreChanges {
  readonly #options: StoreChangesOptions;

  constructor(options: StoreChangesOptions) {
    this.#options = options;
  }

  /** Writes what the action brings, and returns what is stored then. */
  apply(stored: StoredCopy, action: StoreAction): StoredCopy {
    const { held, snapshot } = stored;
    switch (action.kind) {
      case "batch":
        return { held: this.#extend(held, action), snapshot };
      case "snapshot-start": {
        const { revision, digest } = action;
        const slot = this.#options.nextSlot();
        const form = ENTRY_FORM;
        const begun = { slot, form, revision, digest, after: null, sum: EMPTY_STATE } as const;
        return { held, snapshot: begun };
      }
      case "snapshot-page":
        return { held, snapshot: this.#collectPage(snapshot, action) };
      case "snapshot-batch":
        return { held, snapshot: this.#collectBatch(snapshot, action) };
      case "snapshot-end":
        return { held: completed(snapshot, action) };
      case "drop":
        return {};
    }
  }

  #extend(held: Held | undefined, batch: StoreAction & { kind: "batch" }): Held {
    if (held?.revision !== batch.after) throw misfit(batch, held);
    const { slot, form } = held;
    const sum = new StateSum(held.digest);
    try {
      this.#options.entries.apply(slot, changesOf(batch), (key, entry) => {
        sum.toggle(entry);
        this.#options.check.changed(slot, key, entry);
      });
      if (sum.digest !== batch.digest) throw damage(batch, sum);
    } catch (error) {
      this.#options.check.restart();
      throw error;
    }
    return { slot, form, revision: batch.revision, digest: batch.digest };
  }

  #collectPage(
    snapshot: Collected | undefined,
    page: StoreAction & { kind: "snapshot-page" },
  ): Collected {
    if (snapshot?.after !== page.after) {
      throw behind(`a page behind ${page.after}`, `a snapshot up to ${snapshot?.after}`);
    }
    const sum = new StateSum(snapshot.sum);
    this.#options.entries.apply(snapshot.slot, page, adding(sum));
    return { ...snapshot, after: page.through, sum: sum.digest };
  }

  #collectBatch(
    snapshot: Collected | undefined,
    batch: StoreAction & { kind: "snapshot-batch" },
  ): Collected {
    if (snapshot?.revision !== batch.after) throw misfit(batch, snapshot);
    const sum = new StateSum(snapshot.sum);
    this.#options.entries.apply(snapshot.slot, changesOf(batch), adding(sum));
    const { revision, digest } = batch;
    return { ...snapshot, revision, digest, sum: sum.digest };
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
  const sum = new StateSum(snapshot.sum);
  if (sum.digest !== digest) throw damage(end, sum);
  return { slot: snapshot.slot, form: snapshot.form, revision, digest };
}

/** The operations of a batch: each is the revision behind the one before. */
function changesOf({
  after,
  operations,
}: StoreAction & { kind: "batch" | "snapshot-batch" }): Changes {
  return { operations, revisions: operations.map((_, index) => after + 1 + index) };
}

function adding(sum: StateSum): DigestListener {
  return (_key, entry) => sum.toggle(entry);
}

function misfit({ after }: { readonly after: Revision }, part: Held | undefined): KvError {
  return behind(`a batch after ${after}`, `revision ${part?.revision ?? "none"}`);
}

function behind(what: string, stored: string): KvError {
  return new KvError("replica_behind", `${what} does not fit ${stored}`);
}

function damage({ revision, digest }: HistoryPoint, actual: StateSum): KvError {
  const here = `revision ${revision} leads to the state ${actual.digest} here`;
  return new KvError("replica_damaged", `${here}, and to ${digest} at the origin`);
}
