import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId, Revision } from "../names.ts";
import type { SnapshotPosition, StoreAction } from "../replica/replica.ts";
import { decodeBatch, decodePage } from "./batch.ts";
import { Freshness } from "./freshness.ts";
import type { MessageFromOrigin } from "./messages.ts";

/**
 * `following`: takes what continues `accepted`. `broken`: a transaction failed; asks again once nothing
 * is in flight. `gone`: the origin has no such namespace. `diverged`: the replica holds what the origin
 * never had; it is neither overwritten nor written to.
 */
export type Standing = "following" | "broken" | "gone" | "diverged";

/** What a replica holds of a namespace; null for nothing. */
export interface Held {
  readonly revision: Revision | null;
  readonly snapshot: SnapshotPosition | null;
}

/** A message that is part of a namespace's stream. */
export type DataMessage = Extract<MessageFromOrigin, { sequence: number }>;
type Message<Kind extends DataMessage["kind"]> = Extract<DataMessage, { kind: Kind }>;

/** Where a node stands with one namespace. Decides what of a stream is stored. */
export class ReplicaSubscription {
  readonly namespace: NamespaceId;
  readonly freshness = new Freshness();
  /** Its number on the connection; 0 before it first asked. */
  id = 0;
  standing: Standing = "following";
  /** What the replica holds on disk; null for nothing. */
  applied: Revision | null;
  /** The same once all that is in flight is stored: what the next batch must continue. */
  accepted: Revision | null;
  /** The snapshot being collected, if any: on disk, and once all that is in flight is stored. */
  #collected: SnapshotPosition | null;
  #collecting: SnapshotPosition | null;
  /** Transactions in flight. */
  storing = 0;
  /** When it asked, or when it may ask again while it is broken. */
  askedMs: number;
  /** Something that was sent over the connection since it asked has not arrived; it may have been its own. */
  isSuspect = false;
  /** The last message that was taken: one with a lower number is late or a duplicate. */
  #sequence = 0;

  constructor(namespace: NamespaceId, held: Held, nowMs: number) {
    this.namespace = namespace;
    this.applied = held.revision;
    this.accepted = held.revision;
    this.#collected = held.snapshot;
    this.#collecting = held.snapshot;
    this.askedMs = nowMs;
  }

  /** What to ask for: whatever continues what is accepted, an unfinished snapshot included. */
  get position(): Held {
    return { revision: this.accepted, snapshot: this.#collecting };
  }

  /** What the replica holds now that something was stored, or was not. */
  stored(held: Held): void {
    this.applied = held.revision;
    this.#collected = held.snapshot;
  }

  /** Nothing is in flight any more, and some of it was not stored: only what is on disk counts. */
  rewind(): void {
    this.accepted = this.applied;
    this.#collecting = this.#collected;
  }

  /** All that is held is on its way to be dropped. */
  forget(): void {
    this.accepted = null;
    this.#collecting = null;
  }

  /** Follows anew under this number, from what is accepted. */
  restart(id: number, nowMs: number): void {
    this.id = id;
    this.standing = "following";
    this.askedMs = nowMs;
    this.isSuspect = false;
    this.#sequence = 0;
  }

  /** Stops taking anything until it is restarted. */
  stop(standing: Exclude<Standing, "following">): void {
    this.standing = standing;
  }

  /**
   * What to store because of a message; nothing when it is late, a duplicate, or unexpected for now.
   * Fails with `protocol_violation` when it is damaged or something before it is missing: then the
   * subscription must be restarted. Fails with `history_diverged` when it must not be.
   */
  take(message: DataMessage): StoreAction | undefined {
    if (this.standing !== "following" || message.sequence <= this.#sequence) return undefined;
    this.#sequence = message.sequence;
    switch (message.kind) {
      case "batch":
        return this.#takeBatch(message);
      case "snapshot-start":
        return this.#takeStart(message);
      case "snapshot-page":
        return this.#takePage(message);
      default:
        return this.#takeEnd(message);
    }
  }

  /**
   * Whether to ask again, given the revision that the origin reports for it (absent when the origin does
   * not know of it), and when data last came for any namespace.
   */
  isStalled(revision: Revision | undefined, time: { nowMs: number; dataMs: number }): boolean {
    if (this.standing !== "following" || this.storing > 0) return false;
    const isBehind = revision === undefined || this.accepted === null || this.accepted < revision;
    if (isBehind && this.isSuspect) return true;
    // While others are fed, this one waits for its turn.
    const sinceMs = revision === undefined ? this.askedMs : Math.max(this.askedMs, time.dataMs);
    return isBehind && time.nowMs - sinceMs >= LIMITS.replicaStallMs;
  }

  #takeBatch(message: Message<"batch">): StoreAction {
    const { after, revision } = message;
    const collecting = this.#collecting;
    if (after !== (collecting?.revision ?? this.accepted))
      throw this.#gap(`a batch after ${after}`);
    const operations = decodeBatch(message);
    if (collecting === null) {
      this.accepted = revision;
      return { kind: "batch", after, revision, operations };
    }
    this.#collecting = { ...collecting, revision };
    return { kind: "snapshot-batch", after, revision, operations };
  }

  /** Also in the middle of another one: the origin may have had to begin anew. */
  #takeStart({ revision }: Message<"snapshot-start">): StoreAction {
    if (revision < (this.accepted ?? 0)) {
      this.stop("diverged");
      throw new KvError(
        "history_diverged",
        `the replica holds revision ${this.accepted}, but the origin's history ends at ${revision}: it was ` +
          "restored from an older state; remove this node's replica to accept that",
      );
    }
    this.#collecting = { revision, after: null };
    return { kind: "snapshot-start", revision };
  }

  #takePage(message: Message<"snapshot-page">): StoreAction {
    const { after, through } = message;
    if (this.#collecting?.after !== after) throw this.#gap(`a page behind key ${shown(after)}`);
    const operations = decodePage(message);
    this.#collecting = { ...this.#collecting, after: through };
    return { kind: "snapshot-page", after, through, operations };
  }

  #takeEnd({ revision, through }: Message<"snapshot-end">): StoreAction {
    if (this.#collecting?.revision !== revision || this.#collecting.after !== through) {
      throw this.#gap(`the end of a snapshot at revision ${revision} and key ${shown(through)}`);
    }
    this.#collecting = null;
    this.accepted = revision;
    return { kind: "snapshot-end", revision, through };
  }

  #gap(what: string): KvError {
    const collecting = this.#collecting;
    const snapshot =
      collecting === null
        ? ""
        : ` and a snapshot at revision ${collecting.revision} and key ${shown(collecting.after)}`;
    const holds = `revision ${this.accepted ?? "none"}${snapshot}`;
    return new KvError("protocol_violation", `${what} does not continue ${holds}`);
  }
}

/** A key for the operator's eyes: it may be long, and hold anything. */
function shown(key: string | null): string {
  return key === null ? "none" : JSON.stringify(key.slice(0, 40));
}
