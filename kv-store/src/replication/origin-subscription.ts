import type { Key } from "../entry.ts";
import type { KvErrorCode } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { Revision, type HistoryPoint, type NamespaceId } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import type { Batch, SnapshotPage } from "./batch.ts";
import type { MessageToOrigin } from "./messages.ts";

/** What the origin is to read for a subscription. */
export type OriginRead =
  | {
      readonly kind: "read-log";
      readonly subscription: number;
      readonly namespace: NamespaceId;
      readonly after: HistoryPoint;
    }
  | {
      readonly kind: "read-entries";
      readonly subscription: number;
      readonly namespace: NamespaceId;
      readonly after: Key | null;
      /** The page is to have references in the place of values. */
      readonly valuesByReference: boolean;
    };

/** A piece of the stream to a node, before it has its place there. */
export type StreamPiece =
  | ({ readonly kind: "batch" } & Batch)
  | ({ readonly kind: "snapshot-start"; readonly isOtherHistory: boolean } & HistoryPoint)
  | ({ readonly kind: "snapshot-page" } & SnapshotPage)
  | ({ readonly kind: "snapshot-end"; readonly through: Key | null } & HistoryPoint);

/**
 * What is to be done for a subscription. `live`: nothing, all that was committed is sent. `behind`: the log
 * is to be read after `sent`. `unseen`: a snapshot is to be started. `snapshot`: the keys up to `after` were
 * sent, and once the log is sent up to `target`, they are as of `sent`, whenever they were read.
 */
type Progress =
  | { readonly kind: "live" }
  | { readonly kind: "behind" }
  | { readonly kind: "unseen" }
  | {
      readonly kind: "snapshot";
      readonly after: Key | null;
      readonly target: number;
      /** No key follows. */
      readonly isComplete: boolean;
    };

/**
 * What one node was sent of one namespace, and what it needs next. A snapshot is sent page by page, each
 * as of its own moment, and before the next page goes the log up to that moment: so the log never runs away
 * from a snapshot that takes long, nothing is held open for it, and it goes on wherever it broke off.
 */
export class OriginSubscription {
  readonly id: number;
  readonly namespace: NamespaceId;
  readonly #valuesByReference: boolean;
  /** The last point that was sent, or that the node said to be at; `BEGINNING` until a snapshot was started. */
  #sent: HistoryPoint;
  /**
   * The latest revision whose commit was heard of since the last read began, which finds what came before. A database
   * that fails over to an older copy may never come as far as what was heard of earlier.
   */
  #head = 0;
  #progress: Progress;
  /** What the node follows is another history than this one. */
  #isOtherHistory = false;
  /** Reads that failed since the last one that did not, and when the next one may be. */
  #failures = 0;
  #notBeforeMs = -Infinity;

  constructor({
    subscription,
    namespace,
    after,
    digest,
    snapshot,
    valuesByReference = false,
  }: MessageToOrigin & { kind: "subscribe" }) {
    this.id = subscription;
    this.namespace = namespace;
    this.#valuesByReference = valuesByReference;
    if (snapshot !== undefined) {
      const { revision } = snapshot;
      this.#sent = { revision, digest: snapshot.digest };
      this.#progress = { kind: "snapshot", after: snapshot.after, target: 0, isComplete: false };
    } else if (after !== null && digest !== undefined) {
      this.#sent = { revision: after, digest };
      this.#progress = { kind: "behind" };
    } else {
      this.#sent = BEGINNING;
      this.#progress = { kind: "unseen" };
    }
  }

  get sent(): number {
    return this.#sent.revision;
  }

  get isLive(): boolean {
    return this.#progress.kind === "live";
  }

  heardOf(revision: number): void {
    this.#head = Math.max(this.#head, revision);
  }

  /** A batch that goes to the node straight away. */
  passed({ revision, digest }: Batch): void {
    this.#sent = { revision, digest };
  }

  /** From now on the log is read: something was committed that did not go straight away. */
  fallBehind(): void {
    this.#progress = { kind: "behind" };
  }

  mayRead(nowMs: number): boolean {
    return nowMs >= this.#notBeforeMs;
  }

  nextRead(): OriginRead {
    const { id: subscription, namespace } = this;
    this.#head = 0;
    const after = this.#nextKey();
    if (after === undefined)
      return { kind: "read-log", subscription, namespace, after: this.#sent };
    const valuesByReference = this.#valuesByReference;
    return { kind: "read-entries", subscription, namespace, after, valuesByReference };
  }

  /** What to send now that the log was read after `sent`. */
  tookLog(batches: ReadonlyArray<Batch> | "truncated" | "diverged"): StreamPiece[] {
    this.#failures = 0;
    if (batches === "truncated" || batches === "diverged") {
      this.#isOtherHistory = batches === "diverged";
      this.#progress = { kind: "unseen" };
      return [];
    }
    const last = batches.at(-1);
    if (last !== undefined) this.passed(last);
    // What was committed while the log was being read is in the next read of it.
    const isAtEnd = batches.length === 0 && this.sent >= this.#head;
    if (this.#progress.kind === "behind" && isAtEnd) this.#progress = { kind: "live" };
    return [...batches.map((batch) => ({ kind: "batch", ...batch }) as const), ...this.#ending()];
  }

  /** What to send now that a page of entries was read, as of `point`; without one there were no more. */
  tookEntries(point: HistoryPoint, page: SnapshotPage | undefined): StreamPiece[] {
    this.#failures = 0;
    const pieces: StreamPiece[] = [];
    if (this.#progress.kind === "unseen") {
      pieces.push({ kind: "snapshot-start", ...point, isOtherHistory: this.#isOtherHistory });
      this.#progress = { kind: "snapshot", after: null, target: point.revision, isComplete: false };
      this.#isOtherHistory = false;
      this.#sent = point;
    }
    // The node began this snapshot with another history. One that went less far shows when the log is read.
    const isDiverged =
      point.revision < this.sent ||
      (point.revision === this.sent && point.digest !== this.#sent.digest);
    if (this.#progress.kind !== "snapshot" || isDiverged) {
      this.#isOtherHistory = isDiverged;
      this.#progress = { kind: "unseen" };
      return [];
    }
    this.#progress = {
      kind: "snapshot",
      after: page?.through ?? this.#progress.after,
      target: Math.max(point.revision, this.#head),
      isComplete: page === undefined,
    };
    if (page !== undefined) pieces.push({ kind: "snapshot-page", ...page });
    return [...pieces, ...this.#ending()];
  }

  readFailed(code: KvErrorCode, nowMs: number): void {
    this.#notBeforeMs = nowMs + LIMITS.originRetryMs;
    // A database that is away, or busy, has lost nothing: all nodes at once would ask it for snapshots.
    if (code === "origin_unreachable" || code === "busy") return;
    this.#failures += 1;
    const isLogLost = this.#failures >= LIMITS.logReadsMax && this.#nextKey() === undefined;
    // A record that stays unreadable must not hold up the node: a snapshot says what it would have led to.
    if (isLogLost) this.#progress = { kind: "unseen" };
  }

  /** Where the next page starts; `undefined` when the log is to be read before, or instead. */
  #nextKey(): Key | null | undefined {
    if (this.#progress.kind === "unseen") return null;
    if (this.#progress.kind !== "snapshot" || this.sent < this.#progress.target) return undefined;
    return this.#progress.after;
  }

  /** The end of a snapshot of which everything was sent. */
  #ending(): StreamPiece[] {
    if (this.#progress.kind !== "snapshot") return [];
    const { isComplete, target, after: through } = this.#progress;
    if (!isComplete || this.sent < target) return [];
    this.#progress = { kind: "behind" };
    return [{ kind: "snapshot-end", ...this.#sent, through }];
  }
}

/** Before every write. */
const BEGINNING: HistoryPoint = { revision: Revision.parse(0), digest: EMPTY_STATE };
