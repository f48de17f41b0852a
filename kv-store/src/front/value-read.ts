import { hash } from "node:crypto";
import type { ContentHash, HeldEntry, KvValue } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import type { Revision } from "../names.ts";

/** What a node holds of some keys at one moment. */
export interface Look {
  /** The state that they are of. */
  readonly revision: Revision;
  /** In the order of the keys; `undefined` where there is no entry. */
  readonly entries: ReadonlyArray<HeldEntry | undefined>;
}

/** An entry whose value is not in the replica. */
export interface EntryElsewhere extends HeldEntry {
  readonly value: Exclude<HeldEntry["value"], KvValue & { kind: "inline" }>;
}

/** What is to be done next. */
export type ReadStep =
  /** The answer is these entries, with the values that were fetched last; `isCurrent` if it is so by now. */
  | { readonly kind: "answer"; readonly look: Look; readonly isCurrent: boolean }
  /** Fetch the values of these, all of them. */
  | { readonly kind: "fetch"; readonly entries: ReadonlyArray<EntryElsewhere> }
  /** Wait until the replica is past this revision, and look again. */
  | { readonly kind: "wait"; readonly past: Revision }
  /** The values can't be had: with the error of the last fetch. */
  | { readonly kind: "fail" };

/**
 * One read of some keys whose values may be elsewhere, without any input or output of its own. What it answers
 * is the state as of one revision, and was still what the node held of these keys when the values had come: a
 * value that was fetched while another was written is not shown over it. A value that the fleet does not have
 * any more was replaced: then the write that did it is on its way here.
 */
export class ValueRead {
  #look: Look | undefined;
  /** Looked at when the origin did not have a value of it any more. */
  #gone: Look | undefined;
  #looks = 0;

  /** The replica was looked at: the first time, after each fetch and after each wait. */
  looked(look: Look): ReadStep {
    const elsewhere = look.entries.filter(isElsewhere);
    if (elsewhere.length === 0) return { kind: "answer", look, isCurrent: true };
    const gone = this.#gone;
    this.#gone = undefined;
    // Nothing replaced it up to where the origin did not have it: it is lost, or has expired there.
    if (gone !== undefined && isUnchanged(gone, look)) return { kind: "fail" };
    const before = this.#look;
    if (before !== undefined) {
      // As it was looked at before, because that is what was fetched: another value may have left since.
      const isCurrent = isUnchanged(before, look);
      if (isCurrent) return { kind: "answer", look: before, isCurrent };
      // Written again and again: it is the state as of then, and no older than when it was asked for.
      if (this.#looks >= LIMITS.valueReadsMax) return { kind: "answer", look: before, isCurrent };
    }
    this.#look = look;
    this.#looks += 1;
    return { kind: "fetch", entries: elsewhere };
  }

  /**
   * Not all values could be fetched. Given for one that is not in the fleet any more: with the revision at which
   * the origin said so, if it did.
   */
  failed(gone?: { readonly at: Revision | undefined }): ReadStep {
    const look = this.#look;
    const isLast = this.#looks >= LIMITS.valueReadsMax;
    if (gone === undefined || look === undefined || isLast) return { kind: "fail" };
    this.#look = undefined;
    if (gone.at !== undefined) this.#gone = look;
    // What replaced it is in the history up to there.
    const past = Math.max(look.revision, (gone.at ?? 0) - 1) as Revision; // one of the two, or the one before
    return { kind: "wait", past };
  }
}

function isElsewhere(entry: HeldEntry | undefined): entry is EntryElsewhere {
  return entry !== undefined && entry.value.kind !== "inline";
}

/** Whether it is the same content. Of the same revision it need not be: the origin may have been restored meanwhile. */
function isUnchanged(before: Look, after: Look): boolean {
  return before.entries.every((entry, index) => isEqual(entry, after.entries[index]));
}

function isEqual(left: HeldEntry | undefined, right: HeldEntry | undefined): boolean {
  if (left === undefined || right === undefined) return left === right;
  if (left.metadata !== right.metadata || left.expiresAt !== right.expiresAt) return false;
  if (left.revision !== right.revision) return false;
  const [one, other] = [left.value, right.value];
  if (one.kind === "inline" && other.kind === "inline") {
    return Buffer.from(one.bytes).equals(other.bytes);
  }
  // A value may leave the replica, and come back.
  return hashOf(one) === hashOf(other);
}

function hashOf(value: HeldEntry["value"]): ContentHash {
  return value.kind === "inline" ? hash("sha256", value.bytes) : value.hash;
}
