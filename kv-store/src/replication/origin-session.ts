import type { KvOperation } from "../entry.ts";
import type { KvErrorCode } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId, Revision } from "../names.ts";
import { decodeWrite, type Batch, type SnapshotPage } from "./batch.ts";
import type { MessageFromOrigin, MessageToOrigin } from "./messages.ts";
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
      readonly batches: ReadonlyArray<Batch> | "truncated";
    }
  | {
      readonly kind: "snapshot-opened";
      readonly subscription: number;
      readonly revision: Revision;
    }
  | {
      readonly kind: "snapshot-read";
      readonly subscription: number;
      /** Absent after the last one; then the snapshot is closed already. */
      readonly page: SnapshotPage | undefined;
    }
  | { readonly kind: "read-failed"; readonly subscription: number; readonly code: KvErrorCode }
  | {
      readonly kind: "positions-read";
      readonly echoMs: number | null;
      /** By the wall clock. */
      readonly atMs: number;
      /** Revision by subscription; absent when the namespace does not exist. */
      readonly revisions: ReadonlyMap<number, Revision | undefined>;
    }
  | { readonly kind: "write-settled"; readonly id: number; readonly outcome: WriteOutcome };

export type WriteOutcome =
  | { readonly kind: "written"; readonly revision: Revision }
  | { readonly kind: "refused"; readonly code: KvErrorCode; readonly message: string };

/** What the origin's end does about it. Reads are answered by the input of the same subscription. */
export type OriginEffect =
  | { readonly kind: "send"; readonly message: MessageFromOrigin }
  | {
      readonly kind: "read-log";
      readonly subscription: number;
      readonly namespace: NamespaceId;
      readonly after: Revision;
    }
  | {
      readonly kind: "open-snapshot";
      readonly subscription: number;
      readonly namespace: NamespaceId;
    }
  | {
      readonly kind: "read-snapshot";
      readonly subscription: number;
      /** Of the page to read: what `encodePage` wants to know. */
      readonly place: { readonly revision: Revision; readonly page: number };
    }
  | { readonly kind: "close-snapshot"; readonly subscription: number }
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
    }
  | { readonly kind: "cut"; readonly reason: string };

/**
 * Where a subscription stands. `live`: all that was committed is sent. `behind`: the log is to be read
 * after `sent`. `unseen`: a snapshot is to be opened. `snapshot`: one is open, `page` is next.
 */
type Progress =
  | { readonly kind: "live" }
  | { readonly kind: "behind" }
  | { readonly kind: "unseen" }
  | { readonly kind: "snapshot"; readonly revision: Revision; readonly page: number };

interface Subscription {
  readonly id: number;
  readonly namespace: NamespaceId;
  /** The last revision that was sent; 0 until a snapshot was. */
  sent: Revision;
  /** The latest revision whose commit was heard of. */
  head: number;
  progress: Progress;
  /** Reads that failed since the last one that did not, and when the next one may be. */
  failures: number;
  notBeforeMs: number;
}

/**
 * The origin's end of one connection, without any input or output of its own: the same inputs give the
 * same effects. Live batches go straight to the node; whoever falls behind, because it was away or its
 * window is full, is fed from the log or a snapshot, one read at a time, subscriptions taking turns. So
 * nothing is queued here, however slow the node.
 */
export class OriginSession {
  readonly #subscriptions = new Map<number, Subscription>();
  /** The subscription of a namespace: the newest one wins. */
  readonly #byNamespace = new Map<NamespaceId, Subscription>();
  /** Subscriptions with something to read, the next one first. Holds no live ones. */
  readonly #turns = new Set<Subscription>();
  readonly #window: SendWindow;
  /** The read in progress, if any: its answer is an input. */
  #reading: number | undefined;
  readonly #writes = new Set<number>();
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
        this.#echoMs = message.atMs;
        return;
      case "write":
        return this.#onWrite(message);
    }
  }

  #subscribe(message: MessageToOrigin & { kind: "subscribe" }): void {
    const { subscription: id, namespace, after } = message;
    const previous = this.#byNamespace.get(namespace);
    // A duplicate, or one that was overtaken by its successor.
    if (previous !== undefined && previous.id >= id) return;
    this.#forget(previous);
    if (this.#subscriptions.size >= LIMITS.subscriptionsMax) {
      return this.#cut(`more than ${LIMITS.subscriptionsMax} subscriptions`);
    }
    const subscription: Subscription = {
      id,
      namespace,
      sent: after ?? (0 as Revision), // revision 0 is before every write
      head: 0,
      progress: { kind: after === null ? "unseen" : "behind" },
      failures: 0,
      notBeforeMs: 0,
    };
    this.#subscriptions.set(id, subscription);
    this.#byNamespace.set(namespace, subscription);
    this.#turns.add(subscription);
  }

  #forget(subscription: Subscription | undefined): void {
    if (subscription === undefined) return;
    this.#subscriptions.delete(subscription.id);
    this.#turns.delete(subscription);
    if (this.#byNamespace.get(subscription.namespace) === subscription) {
      this.#byNamespace.delete(subscription.namespace);
    }
    if (subscription.progress.kind === "snapshot") this.#closeSnapshot(subscription);
  }

  #closeSnapshot(subscription: Subscription): void {
    this.#effects.push({ kind: "close-snapshot", subscription: subscription.id });
  }

  #onWrite(message: MessageToOrigin & { kind: "write" }): void {
    const { id, namespace } = message;
    if (this.#writes.has(id)) return;
    if (this.#writes.size >= LIMITS.pendingWritesMax) {
      const text = `${this.#writes.size} writes of this node wait to be answered already`;
      return this.#send({ kind: "refused", id, code: "busy", message: text });
    }
    // What can't be decoded throws: the caller ends the connection, and the node repeats the write.
    const operations = decodeWrite(message);
    this.#writes.add(id);
    this.#effects.push({ kind: "write", id, namespace, operations });
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
    const namespaces = new Map(
      [...this.#subscriptions].map(([id, { namespace }]) => [id, namespace]),
    );
    this.#effects.push({ kind: "read-positions", echoMs: this.#echoMs, namespaces });
  }

  #onPositions(input: OriginInput & { kind: "positions-read" }): void {
    const positions: Array<{ subscription: number; revision: Revision }> = [];
    for (const [id, revision] of input.revisions) {
      const subscription = this.#subscriptions.get(id);
      if (subscription === undefined) continue;
      if (revision === undefined) {
        this.#gone(subscription);
        continue;
      }
      positions.push({ subscription: id, revision });
      // Committed through another control plane, which this one does not hear of at once.
      if (subscription.progress.kind === "live" && revision > subscription.sent) {
        this.#fallBehind(subscription);
      }
    }
    const { echoMs, atMs } = input;
    this.#send({ kind: "heartbeat", atMs, echoMs, positions });
  }

  #gone(subscription: Subscription): void {
    this.#send({ kind: "gone", subscription: subscription.id });
    this.#forget(subscription);
  }

  #onCommitted(namespace: NamespaceId, batches: ReadonlyArray<Batch>): void {
    const subscription = this.#byNamespace.get(namespace);
    if (subscription === undefined) return;
    subscription.head = batches.at(-1)?.revision ?? subscription.head;
    if (subscription.progress.kind !== "live") return;
    for (const batch of batches) {
      // Read from the log before the news of its commit came.
      if (batch.revision <= subscription.sent) continue;
      if (batch.after !== subscription.sent || !this.#window.hasRoom) {
        return this.#fallBehind(subscription);
      }
      this.#sendBatch(subscription, batch);
    }
  }

  #fallBehind(subscription: Subscription): void {
    subscription.progress = { kind: "behind" };
    this.#turns.add(subscription);
  }

  #sendBatch(subscription: Subscription, batch: Batch): void {
    const sequence = this.#window.sent(batch.body.length, this.#nowMs);
    this.#send({ kind: "batch", subscription: subscription.id, sequence, ...batch });
    subscription.sent = batch.revision;
  }

  /** Starts the next read, if none is in progress and the window has room for its answer. */
  #readNext(): void {
    if (this.#reading !== undefined || !this.#window.hasRoom) return;
    const next = this.#turns.values().find((candidate) => this.#isReadable(candidate));
    if (next === undefined) return;
    this.#turns.delete(next);
    this.#reading = next.id;
    const { id: subscription, namespace, progress, sent: after } = next;
    if (progress.kind === "snapshot") {
      const place = { revision: progress.revision, page: progress.page };
      this.#effects.push({ kind: "read-snapshot", subscription, place });
    } else if (progress.kind === "unseen") {
      this.#effects.push({ kind: "open-snapshot", subscription, namespace });
    } else {
      this.#effects.push({ kind: "read-log", subscription, namespace, after });
    }
  }

  #isReadable({ progress, notBeforeMs }: Subscription): boolean {
    if (notBeforeMs > this.#nowMs) return false;
    if (progress.kind !== "unseen") return true;
    const open = this.#turns.values().filter((other) => other.progress.kind === "snapshot");
    return [...open].length < LIMITS.sessionSnapshotsMax;
  }

  #onRead(
    input: OriginInput & {
      kind: "log-read" | "snapshot-opened" | "snapshot-read" | "read-failed";
    },
  ): void {
    this.#reading = undefined;
    const subscription = this.#subscriptions.get(input.subscription);
    if (subscription === undefined) {
      // Replaced while its snapshot was being opened.
      if (input.kind === "snapshot-opened") {
        this.#effects.push({ kind: "close-snapshot", subscription: input.subscription });
      }
      return;
    }
    // Its next turn comes after those of the others.
    this.#turns.add(subscription);
    if (input.kind !== "read-failed") subscription.failures = 0;
    if (input.kind === "log-read") this.#onLogRead(subscription, input.batches);
    else if (input.kind === "snapshot-opened") this.#onOpened(subscription, input.revision);
    else if (input.kind === "snapshot-read") this.#onPage(subscription, input.page);
    else this.#onReadFailed(subscription, input.code);
  }

  #onLogRead(subscription: Subscription, batches: ReadonlyArray<Batch> | "truncated"): void {
    if (batches === "truncated") {
      subscription.progress = { kind: "unseen" };
    } else if (batches.length === 0) {
      if (subscription.sent < subscription.head) return;
      subscription.progress = { kind: "live" };
      this.#turns.delete(subscription);
    } else {
      for (const batch of batches) this.#sendBatch(subscription, batch);
    }
  }

  #onOpened(subscription: Subscription, revision: Revision): void {
    subscription.progress = { kind: "snapshot", revision, page: 0 };
    const sequence = this.#window.sent(0, this.#nowMs);
    this.#send({ kind: "snapshot-start", subscription: subscription.id, sequence, revision });
  }

  #onPage(subscription: Subscription, page: SnapshotPage | undefined): void {
    const { id, progress } = subscription;
    if (progress.kind !== "snapshot") return;
    const sequence = this.#window.sent(page?.body.length ?? 0, this.#nowMs);
    if (page === undefined) {
      const { revision, page: pages } = progress;
      this.#send({ kind: "snapshot-end", subscription: id, sequence, revision, pages });
      subscription.sent = progress.revision;
      this.#fallBehind(subscription);
    } else {
      this.#send({ kind: "snapshot-page", subscription: id, sequence, ...page });
      subscription.progress = { ...progress, page: progress.page + 1 };
    }
  }

  #onReadFailed(subscription: Subscription, code: KvErrorCode): void {
    if (code === "namespace_not_found") return this.#gone(subscription);
    // Too many snapshots at once, or a failing disk: later, from what was sent.
    subscription.failures += 1;
    subscription.notBeforeMs = this.#nowMs + LIMITS.originRetryMs;
    const isSnapshot = subscription.progress.kind === "snapshot";
    if (isSnapshot) this.#closeSnapshot(subscription);
    // A record that stays unreadable must not hold up the node: a snapshot says what it would have led to.
    if (!isSnapshot && subscription.failures < LIMITS.logReadsMax) return;
    subscription.progress = { kind: "unseen" };
  }

  #send(message: MessageFromOrigin): void {
    this.#effects.push({ kind: "send", message });
  }

  #cut(reason: string): void {
    this.#effects.push({ kind: "cut", reason });
  }
}
