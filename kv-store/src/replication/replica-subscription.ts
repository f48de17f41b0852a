import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId, Revision } from "../names.ts";
import type { StoreAction } from "../replica/replica.ts";
import { decodeBatch, decodePage } from "./batch.ts";
import { Freshness } from "./freshness.ts";
import type { MessageFromOrigin } from "./messages.ts";

/**
 * `following`: takes what continues `accepted`. `broken`: a transaction failed; asks again once nothing
 * is in flight. `gone`: the origin has no such namespace. `diverged`: the replica holds what the origin
 * never had; it is neither overwritten nor written to.
 */
export type Standing = "following" | "broken" | "gone" | "diverged";

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
  /** Transactions in flight. */
  storing = 0;
  /** When it asked, or when it may ask again while it is broken. */
  askedMs: number;
  /** Something that was sent over the connection since it asked has not arrived; it may have been its own. */
  isSuspect = false;
  /** The snapshot being received, if any, and its next page. No batch is accepted meanwhile. */
  #snapshot: { readonly revision: Revision; readonly page: number } | undefined;
  /** The last message that was taken: one with a lower number is late or a duplicate. */
  #sequence = 0;

  constructor(namespace: NamespaceId, applied: Revision | null, nowMs: number) {
    this.namespace = namespace;
    this.applied = applied;
    this.accepted = applied;
    this.askedMs = nowMs;
  }

  /** Follows anew under this number, from what is accepted. */
  restart(id: number, nowMs: number): void {
    this.id = id;
    this.standing = "following";
    this.askedMs = nowMs;
    this.isSuspect = false;
    this.#snapshot = undefined;
    this.#sequence = 0;
  }

  /** Stops taking anything until it is restarted. */
  stop(standing: Exclude<Standing, "following">): void {
    this.standing = standing;
    this.#snapshot = undefined;
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
    if (this.#snapshot !== undefined || message.after !== this.accepted) {
      throw this.#gap(`a batch after ${message.after}`);
    }
    const operations = decodeBatch(message);
    const { after, revision } = message;
    this.accepted = revision;
    return { kind: "batch", after, revision, operations };
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
    this.#snapshot = { revision, page: 0 };
    return { kind: "snapshot-start" };
  }

  #takePage(message: Message<"snapshot-page">): StoreAction {
    const { revision, page } = message;
    if (!this.#isNext(revision, page)) throw this.#gap(`page ${page} of a snapshot of ${revision}`);
    const operations = decodePage(message);
    this.#snapshot = { revision, page: page + 1 };
    return { kind: "snapshot-page", operations };
  }

  #takeEnd({ revision, pages }: Message<"snapshot-end">): StoreAction {
    if (!this.#isNext(revision, pages)) throw this.#gap(`the end of a snapshot of ${revision}`);
    this.#snapshot = undefined;
    this.accepted = revision;
    return { kind: "snapshot-end", revision, pages };
  }

  #isNext(revision: Revision, page: number): boolean {
    return this.#snapshot?.revision === revision && this.#snapshot.page === page;
  }

  #gap(what: string): KvError {
    const page =
      this.#snapshot === undefined ? "" : ` and ${this.#snapshot.page} pages of a snapshot`;
    const holds = `revision ${this.accepted ?? "none"}${page}`;
    return new KvError("protocol_violation", `${what} does not continue ${holds}`);
  }
}
