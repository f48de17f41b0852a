import type { KvCondition, KvOperation } from "../entry.ts";
import type { KvErrorCode } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { HistoryPoint, NamespaceId, Revision } from "../names.ts";
import { decodeWrite, type Batch, type SnapshotPage } from "./batch.ts";
import type { MessageFromOrigin, MessageToOrigin } from "./messages.ts";
import { OriginSubscription, type OriginRead, type StreamPiece } from "./origin-subscription.ts";
import { SendWindow } from "./send-window.ts";

/** What happened at the origin's end of a connection. `nowMs` is by the monotonic clock. */
export type OriginInput =
  | { readonly kind: "message"; readonly message: MessageToOrigin; readonly nowMs: number }
  | { readonly kind: "tick"; readonly nowMs: number }
  | {
      readonly kind: "committed";
      readonly namespace: NamespaceId;
      readonly batches: ReadonlyArray<Batch>;
    }
  | {
      readonly kind: "log-read";
      readonly subscription: number;
      /** As `LogPage` has it. */
      readonly batches: ReadonlyArray<Batch> | "truncated" | "diverged";
    }
  | {
      readonly kind: "entries-read";
      readonly subscription: number;
      /** As of which they are. */
      readonly point: HistoryPoint;
      /** Absent when there were no more. */
      readonly page: SnapshotPage | undefined;
    }
  | { readonly kind: "read-failed"; readonly subscription: number; readonly code: KvErrorCode }
  | {
      readonly kind: "positions-read";
      readonly echoMs: number | null;
      /** By the clock by which entries expire. */
      readonly atMs: number;
      /** Where each history stands, by subscription; absent when the namespace does not exist. */
      readonly points: ReadonlyMap<number, HistoryPoint | undefined>;
    }
  | { readonly kind: "write-settled"; readonly id: number; readonly outcome: WriteOutcome };

export type WriteOutcome =
  | { readonly kind: "written"; readonly revision: Revision }
  | {
      readonly kind: "refused";
      readonly code: KvErrorCode;
      readonly message: string;
      readonly found?: Revision;
    };

/** What the origin's end does about it. Reads are answered by the input of the same subscription. */
export type OriginEffect =
  | { readonly kind: "send"; readonly message: MessageFromOrigin }
  | OriginRead
  | {
      readonly kind: "read-positions";
      readonly echoMs: number | null;
      readonly namespaces: ReadonlyMap<number, NamespaceId>;
    }
  | {
      readonly kind: "write";
      readonly id: number;
      readonly namespace: NamespaceId;
      readonly operations: ReadonlyArray<KvOperation>;
      readonly conditions: ReadonlyArray<KvCondition>;
    }
  | { readonly kind: "cut"; readonly reason: string };

/**
 * The origin's end of one connection, without any input or output of its own: the same inputs give the
 * same effects. Live batches go straight to the node; whoever falls behind, because it was away or its
 * window is full, is fed from the log or a snapshot, one read at a time, subscriptions taking turns. So
 * nothing is queued here, however slow the node.
 */
export class OriginSession {
  readonly #subscriptions = new Map<number, OriginSubscription>();
  /** The subscription of a namespace: the newest one wins. */
  readonly #byNamespace = new Map<NamespaceId, OriginSubscription>();
  /** Subscriptions with something to read, the next one first. Holds no live ones. */
  readonly #turns = new Set<OriginSubscription>();
  readonly #window: SendWindow;
  /** The read in progress, if any: its answer is an input. */
  #reading: number | undefined;
  /** The writes that are not answered. */
  readonly #writes = new Set<number>();
  /** The highest number of a write on this connection. */
  #lastWrite = 0;
  #nowMs: number;
  #heardMs: number;
  #heartbeatMs: number;
  /** The node's monotonic clock as its last ping showed it. */
  #echoMs: number | null = null;
  #effects: OriginEffect[] = [];

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
    this.#heardMs = nowMs;
    this.#heartbeatMs = nowMs;
    this.#window = new SendWindow();
  }

  /** Takes one input and returns what to do, in order. After a `cut` no more input is expected. */
  handle(input: OriginInput): ReadonlyArray<OriginEffect> {
    this.#effects = [];
    this.#take(input);
    this.#readNext();
    return this.#effects;
  }

  #take(input: OriginInput): void {
    switch (input.kind) {
      case "message":
        this.#nowMs = input.nowMs;
        this.#heardMs = input.nowMs;
        return this.#onMessage(input.message);
      case "tick":
        this.#nowMs = input.nowMs;
        return this.#onTick();
      case "committed":
        return this.#onCommitted(input.namespace, input.batches);
      case "positions-read":
        return this.#onPositions(input);
      case "write-settled":
        return this.#onWriteSettled(input.id, input.outcome);
      default:
        return this.#onRead(input);
    }
  }

  #onMessage(message: MessageToOrigin): void {
    switch (message.kind) {
      case "subscribe":
        return this.#subscribe(message);
      case "unsubscribe":
        return this.#forget(this.#subscriptions.get(message.subscription));
      case "received":
        return this.#window.received(message.sequence);
      case "ping":
        return this.#onPing(message.atMs);
      case "write":
        return this.#onWrite(message);
    }
  }

  #onPing(atMs: number): void {
    const isFirst = this.#echoMs === null;
    this.#echoMs = atMs;
    // A node that has just come can't tell what has expired before it is told the time.
    if (isFirst) this.#askPositions();
  }

  #subscribe(message: MessageToOrigin & { kind: "subscribe" }): void {
    const { subscription: id, namespace } = message;
    const previous = this.#byNamespace.get(namespace);
    // A duplicate, or one that was overtaken by its successor.
    if (previous !== undefined && previous.id >= id) return;
    this.#forget(previous);
    if (this.#subscriptions.size >= LIMITS.subscriptionsMax) {
      return this.#cut(`more than ${LIMITS.subscriptionsMax} subscriptions`);
    }
    const subscription = new OriginSubscription(message);
    this.#subscriptions.set(id, subscription);
    this.#byNamespace.set(namespace, subscription);
    this.#turns.add(subscription);
  }

  #forget(subscription: OriginSubscription | undefined): void {
    if (subscription === undefined) return;
    this.#subscriptions.delete(subscription.id);
    this.#turns.delete(subscription);
    if (this.#byNamespace.get(subscription.namespace) === subscription) {
      this.#byNamespace.delete(subscription.namespace);
    }
  }

  #onWrite(message: MessageToOrigin & { kind: "write" }): void {
    const { id, namespace, conditions = [] } = message;
    // A duplicate, or one that was overtaken: made now, it could put an older value over a newer one.
    if (id <= this.#lastWrite) return;
    this.#lastWrite = id;
    if (this.#writes.size >= LIMITS.pendingWritesMax) {
      const text = `${this.#writes.size} writes of this node wait to be answered already`;
      return this.#send({ kind: "refused", id, code: "busy", message: text });
    }
    // What can't be decoded throws: the caller ends the connection, and the node repeats the write.
    const operations = decodeWrite(message);
    this.#writes.add(id);
    this.#effects.push({ kind: "write", id, namespace, operations, conditions });
  }

  #onWriteSettled(id: number, outcome: WriteOutcome): void {
    this.#writes.delete(id);
    this.#send({ ...outcome, id });
  }

  #onTick(): void {
    if (this.#nowMs - this.#heardMs > LIMITS.linkSilenceMs) {
      return this.#cut(`nothing was heard of the node for ${this.#nowMs - this.#heardMs} ms`);
    }
    if (this.#window.isStalled(this.#nowMs)) {
      return this.#cut(`the node has not applied what was sent ${LIMITS.windowStallMs} ms ago`);
    }
    if (this.#nowMs - this.#heartbeatMs < LIMITS.heartbeatMs) return;
    this.#heartbeatMs = this.#nowMs;
    this.#askPositions();
  }

  #askPositions(): void {
    const namespaces = new Map(
      [...this.#subscriptions].map(([id, { namespace }]) => [id, namespace]),
    );
    this.#effects.push({ kind: "read-positions", echoMs: this.#echoMs, namespaces });
  }

  #onPositions(input: OriginInput & { kind: "positions-read" }): void {
    const positions: Array<{ subscription: number } & HistoryPoint> = [];
    for (const [id, point] of input.points) {
      const subscription = this.#subscriptions.get(id);
      if (subscription === undefined) continue;
      if (point === undefined) {
        this.#gone(subscription);
        continue;
      }
      positions.push({ subscription: id, ...point });
      // Committed through another control plane, which this one does not hear of at once.
      if (subscription.isLive && point.revision > subscription.sent) {
        this.#fallBehind(subscription);
      }
    }
    const { echoMs, atMs } = input;
    this.#send({ kind: "heartbeat", atMs, echoMs, positions });
  }

  #gone(subscription: OriginSubscription): void {
    this.#send({ kind: "gone", subscription: subscription.id });
    this.#forget(subscription);
  }

  #onCommitted(namespace: NamespaceId, batches: ReadonlyArray<Batch>): void {
    const subscription = this.#byNamespace.get(namespace);
    if (subscription === undefined) return;
    for (const batch of batches) {
      subscription.heardOf(batch.revision);
      if (!subscription.isLive) continue;
      // Read from the log before the news of its commit came.
      if (batch.revision <= subscription.sent) continue;
      if (batch.after === subscription.sent && this.#window.hasRoom) {
        subscription.passed(batch);
        this.#sendPiece(subscription, { kind: "batch", ...batch });
      } else {
        this.#fallBehind(subscription);
      }
    }
  }

  #fallBehind(subscription: OriginSubscription): void {
    subscription.fallBehind();
    this.#turns.add(subscription);
  }

  /** Starts the next read, if none is in progress and the window has room for its answer. */
  #readNext(): void {
    if (this.#reading !== undefined || !this.#window.hasRoom) return;
    const next = this.#turns.values().find((candidate) => candidate.mayRead(this.#nowMs));
    if (next === undefined) return;
    this.#turns.delete(next);
    this.#reading = next.id;
    this.#effects.push(next.nextRead());
  }

  #onRead(input: OriginInput & { kind: "log-read" | "entries-read" | "read-failed" }): void {
    this.#reading = undefined;
    const subscription = this.#subscriptions.get(input.subscription);
    // Replaced meanwhile.
    if (subscription === undefined) return;
    if (input.kind === "read-failed") {
      if (input.code === "namespace_not_found") return this.#gone(subscription);
      subscription.readFailed(input.code, this.#nowMs);
    } else {
      const pieces =
        input.kind === "log-read"
          ? subscription.tookLog(input.batches)
          : subscription.tookEntries(input.point, input.page);
      for (const piece of pieces) this.#sendPiece(subscription, piece);
    }
    // Its next turn comes after those of the others.
    if (!subscription.isLive) this.#turns.add(subscription);
  }

  #sendPiece({ id: subscription }: OriginSubscription, piece: StreamPiece): void {
    const bodyBytes = "body" in piece ? piece.body.length : 0;
    const sequence = this.#window.sent(bodyBytes, this.#nowMs);
    this.#send({ ...piece, subscription, sequence });
  }

  #send(message: MessageFromOrigin): void {
    this.#effects.push({ kind: "send", message });
  }

  #cut(reason: string): void {
    this.#effects.push({ kind: "cut", reason });
  }
}
