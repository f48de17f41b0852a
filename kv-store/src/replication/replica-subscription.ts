import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { HistoryPoint, NamespaceId, Revision } from "../names.ts";
import type { SnapshotPosition, StoreAction } from "../replica/replica.ts";
import { decodeBatch, decodePage } from "./batch.ts";
import { Freshness } from "./freshness.ts";
import type { MessageFromOrigin } from "./messages.ts";
import type { ReplicaPosition } from "./replica-exchange.ts";

/**
 * `following`: takes what continues `accepted`. `broken`: a transaction failed; asks again once nothing
 * is in flight. `gone`: the origin has no such namespace.
 */
export type Standing = "following" | "broken" | "gone";

/** What a replica holds of a namespace; null for nothing. */
export interface Held {
  readonly point: HistoryPoint | null;
  readonly snapshot: SnapshotPosition | null;
  /** Values of it may be absent. */
  readonly isPartial: boolean;
}

/**
 * Why all that is held is to be replaced by a snapshot. `damaged`: it is not the state that the origin had.
 * `other-history`: the origin has taken up an older copy of its own and gone on from there.
 */
export type RepairReason = "damaged" | "other-history";

export interface Repair {
  readonly reason: RepairReason;
  /** When to ask for the snapshot. */
  readonly dueMs: number;
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
  applied: HistoryPoint | null;
  /**
   * The same once all that is in flight is stored: what the next batch must continue. Null also while what
   * is held is being replaced.
   */
  accepted: HistoryPoint | null;
  /** Counts the histories that were followed: the origin may be restored from an older copy again and again. */
  history = 0;
  /** The highest revision that the origin is known to have had in this history. */
  known: number;
  /**
   * Counts how often all that was taken lost its meaning: a snapshot whose end was taken in an earlier era,
   * and is still on its way to the disk, says nothing of what the origin has.
   */
  era = 0;
  /** The snapshot being collected, if any: on disk, and once all that is in flight is stored. */
  #collected: SnapshotPosition | null;
  #collecting: SnapshotPosition | null;
  /** That one goes on where an earlier answer broke off, maybe in another history than it was begun in. */
  isResumed = false;
  /** Values may be absent: a snapshot need not bring them. */
  isPartial: boolean;
  /** The same when it last asked. */
  #isAskedPartial: boolean;
  /** Set from the moment when what is held is known to be wrong until a snapshot has replaced it. */
  repair: Repair | undefined;
  /** How often that has happened, and why the last time. */
  repairs = 0;
  lastRepair: RepairReason | null = null;
  /** Transactions in flight. */
  storing = 0;
  /** The disk refused the last one. */
  isStorageFailing = false;
  /** When it asked, or when it may ask again while it is broken. */
  askedMs: number;
  /** Something that was sent over the connection since it asked has not arrived; it may have been its own. */
  isSuspect = false;
  /** The last message that was taken since it asked: one with a lower number is late or a duplicate. */
  #sequence = 0;
  /** From this time of the node's clock on, the origin is known to have had what is accepted. */
  #acceptedMs: number;
  /**
   * What is held does not count: a snapshot in its place was asked for, or is on its way. Also of nothing: a
   * drop that failed may bring back what was held before.
   */
  #isReplacing: boolean;
  /** When the last snapshot was stored, or refused. */
  #replacedMs = -Infinity;

  constructor(namespace: NamespaceId, held: Held, nowMs: number) {
    this.namespace = namespace;
    this.applied = held.point;
    this.accepted = held.point;
    this.known = held.point?.revision ?? 0;
    this.#collected = held.snapshot;
    this.#collecting = held.snapshot;
    this.isPartial = held.isPartial;
    this.#isAskedPartial = held.isPartial;
    this.askedMs = nowMs;
    this.#acceptedMs = nowMs;
    this.#isReplacing = held.point === null;
  }

  /** Where it stands, for those who ask. */
  get report(): ReplicaPosition {
    return {
      namespace: this.namespace,
      standing: this.standing,
      applied: this.applied?.revision ?? null,
      confirmed: this.confirmed,
      freshMs: this.freshness.freshMs,
      repairing: this.repair?.reason ?? null,
      repairs: this.repairs,
      lastRepair: this.lastRepair,
      isStorageFailing: this.isStorageFailing,
    };
  }

  /** What to ask for: whatever continues what is accepted, an unfinished snapshot included. */
  get position(): Pick<Held, "point" | "snapshot"> {
    return { point: this.accepted, snapshot: this.#collecting };
  }

  /** Whether the snapshot that is on its way, or was asked for, is not of the kind that is to be held. */
  get isOfWrongExtent(): boolean {
    const isCollecting = this.accepted === null || this.#collecting !== null;
    return this.standing === "following" && isCollecting && this.isPartial !== this.#isAskedPartial;
  }

  /** What reads see of the origin's history; null when it is nothing, or may be of another history. */
  get confirmed(): Revision | null {
    const isForeign = this.#isReplacing || this.repair?.reason === "other-history";
    return isForeign ? null : (this.applied?.revision ?? null);
  }

  /** Whether it is time to ask for a snapshot in the place of what is held. */
  isRepairDue(nowMs: number): boolean {
    return this.repair !== undefined && this.accepted !== null && nowMs >= this.repair.dueMs;
  }

  /** Nothing that is held counts any more. */
  distrust(reason: RepairReason, nowMs: number): void {
    const dueMs = Math.max(nowMs, this.#replacedMs + LIMITS.replicaRepairMs);
    this.repair = { reason, dueMs };
    this.era += 1;
    if (reason !== "other-history") return;
    this.history += 1;
    this.known = 0;
  }

  /** A snapshot was refused as a whole. */
  refused(nowMs: number): void {
    this.#replacedMs = nowMs;
  }

  /** A snapshot is on disk in the place of all that was held; its end was taken in this era. */
  replaced(era: number, nowMs: number): void {
    this.#replacedMs = nowMs;
    if (this.era !== era) return;
    this.#isReplacing = false;
    if (this.repair === undefined) return;
    this.repairs += 1;
    this.lastRepair = this.repair.reason;
    this.repair = undefined;
  }

  /** The disk refused a change; whether that is news. */
  failedToStore(): boolean {
    const isNews = !this.isStorageFailing;
    this.isStorageFailing = true;
    return isNews;
  }

  /** What the replica holds now that something in flight was stored, or was not. */
  stored(held: Held, isStored: boolean): void {
    this.storing -= 1;
    if (isStored) this.isStorageFailing = false;
    this.applied = held.point;
    this.#collected = held.snapshot;
    this.isPartial = held.isPartial;
  }

  /** Nothing is in flight any more, and some of it was not stored: only what is on disk counts. */
  rewind(): void {
    // What did not count before does not either: a drop that failed may have brought it back.
    this.accepted = this.#isReplacing ? null : this.applied;
    this.#collecting = this.#collected;
  }

  /** All that is held is on its way to be dropped. */
  forget(): void {
    // Reads see nothing of it any more, whatever the disk still says.
    this.applied = null;
    this.accepted = null;
    this.known = 0;
    this.era += 1;
    this.freshness.forget();
    this.#collecting = null;
    this.isPartial = false;
    this.repair = undefined;
    this.#isReplacing = true;
  }

  /** Follows anew under this number, from what is accepted; from nothing when that is to be replaced. */
  restart(id: number, nowMs: number): void {
    this.id = id;
    this.standing = "following";
    this.askedMs = nowMs;
    this.isSuspect = false;
    this.#isAskedPartial = this.isPartial;
    this.#sequence = 0;
    this.isResumed = true;
    if (this.isRepairDue(nowMs)) this.#replace();
  }

  #replace(): void {
    this.accepted = null;
    // What was taken before may be of a history that was replaced since.
    this.era += 1;
    this.#isReplacing = true;
  }

  /** Stops taking anything until it is restarted. */
  stop(standing: Exclude<Standing, "following">): void {
    this.standing = standing;
  }

  /** False for a message that is late, a duplicate, or unexpected for now. */
  expects(message: DataMessage): boolean {
    return this.standing === "following" && message.sequence > this.#sequence;
  }

  /**
   * What to store because of a message that is expected. Fails with `protocol_violation` when it is damaged
   * or something before it is missing: then the subscription must be restarted.
   */
  take(message: DataMessage, nowMs: number): StoreAction {
    if (this.#mayMissStart(message)) {
      throw new KvError(
        "protocol_violation",
        `something was lost before the first ${message.kind}`,
      );
    }
    this.#sequence = message.sequence;
    const { accepted } = this;
    const action = this.#actionOf(message);
    if (this.accepted !== accepted) this.#acceptedMs = nowMs;
    this.known = Math.max(this.known, this.accepted?.revision ?? 0);
    return action;
  }

  /**
   * The first message of an answer says whether the origin has what is held: the log goes on from there, or a snapshot
   * starts. Behind one that was lost the revisions of another history may look as if they went on from it, too.
   */
  #mayMissStart(message: DataMessage): boolean {
    const isFirst = this.#sequence === 0;
    return isFirst && this.isSuspect && message.kind !== "snapshot-start";
  }

  #actionOf(message: DataMessage): StoreAction {
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
   * Whether the origin, given where it stood after this node's clock showed `echoMs`, has another history
   * than what is accepted.
   */
  contradicts(point: HistoryPoint, echoMs: number): boolean {
    const { accepted } = this;
    if (accepted === null || !isBeside(point, accepted)) return false;
    // An older revision may have been read before the origin had the newer one: the echo tells.
    return point.revision === accepted.revision || echoMs >= this.#acceptedMs;
  }

  /** Whether a message shows that a snapshot is of another history than what is accepted. */
  isForeign(message: DataMessage): boolean {
    if (message.kind !== "snapshot-start" && message.kind !== "snapshot-end") return false;
    if (message.kind === "snapshot-start" && message.isOtherHistory) return true;
    // One that was begun in an earlier life of the node shows it at its end.
    return this.accepted !== null && isBeside(message, this.accepted);
  }

  /**
   * Whether to ask again, given the revision that the origin reports for it (absent when the origin does
   * not know of it), and when data last came for any namespace.
   */
  isStalled(revision: Revision | undefined, time: { nowMs: number; dataMs: number }): boolean {
    if (this.standing !== "following" || this.storing > 0) return false;
    const isBehind =
      revision === undefined || this.accepted === null || this.accepted.revision < revision;
    // Heartbeats that a machine finds all at once when it wakes up are one reason to ask, not many.
    const isPaused = time.nowMs - this.askedMs < LIMITS.replicaAskMs;
    if (isBehind && this.isSuspect && !isPaused) return true;
    // While others are fed, this one waits for its turn.
    const sinceMs = revision === undefined ? this.askedMs : Math.max(this.askedMs, time.dataMs);
    return isBehind && time.nowMs - sinceMs >= LIMITS.replicaStallMs;
  }

  #takeBatch(message: Message<"batch">): StoreAction {
    const { after, revision, digest } = message;
    const collecting = this.#collecting;
    const expected = (collecting ?? this.accepted)?.revision;
    if (after !== expected) throw this.#gap(`a batch after ${after}`);
    const operations = decodeBatch(message);
    const batch = { after, revision, digest, operations };
    if (collecting === null) {
      this.accepted = { revision, digest };
      return { kind: "batch", ...batch };
    }
    this.#collecting = { ...collecting, revision, digest };
    return { kind: "snapshot-batch", ...batch };
  }

  /** Also in the middle of another one: the origin may have had to begin anew. */
  #takeStart({ revision, digest }: Message<"snapshot-start">): StoreAction {
    // Should it break off, what is held now is no place to go on from.
    if (this.repair !== undefined) this.#replace();
    this.#collecting = { revision, digest, after: null };
    this.isResumed = false;
    return { kind: "snapshot-start", revision, digest };
  }

  #takePage(message: Message<"snapshot-page">): StoreAction {
    const { after, through } = message;
    if (this.#collecting?.after !== after) throw this.#gap(`a page behind key ${shown(after)}`);
    const content = decodePage(message);
    this.#collecting = { ...this.#collecting, after: through };
    return { kind: "snapshot-page", after, through, ...content };
  }

  #takeEnd({ revision, digest, through }: Message<"snapshot-end">): StoreAction {
    if (this.#collecting?.revision !== revision || this.#collecting.after !== through) {
      throw this.#gap(`the end of a snapshot at revision ${revision} and key ${shown(through)}`);
    }
    this.#collecting = null;
    this.accepted = { revision, digest };
    return { kind: "snapshot-end", revision, digest, through };
  }

  #gap(what: string): KvError {
    const collecting = this.#collecting;
    const snapshot =
      collecting === null
        ? ""
        : ` and a snapshot at revision ${collecting.revision} and key ${shown(collecting.after)}`;
    const holds = `revision ${this.accepted?.revision ?? "none"}${snapshot}`;
    return new KvError("protocol_violation", `${what} does not continue ${holds}`);
  }
}

/** Whether a point can't be on the way that leads through the other one and further. */
function isBeside(point: HistoryPoint, other: HistoryPoint): boolean {
  const isSame = point.revision === other.revision && point.digest === other.digest;
  return point.revision <= other.revision && !isSame;
}

/** A key for the operator's eyes: it may be long, and hold anything. */
function shown(key: string | null): string {
  return key === null ? "none" : JSON.stringify(key.slice(0, 40));
}
