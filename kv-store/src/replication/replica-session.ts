import type { KvOperation } from "../entry.ts";
import { isKvErrorCode, KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId, Revision } from "../names.ts";
import type { StoreAction } from "../replica/replica.ts";
import { encodeWrite } from "./batch.ts";
import type { MessageFromOrigin, MessageToOrigin } from "./messages.ts";
import { PendingWrites, type SettledWrite, type WriteResult } from "./pending-writes.ts";
import {
  ReplicaSubscription,
  type DataMessage,
  type Held,
  type Standing,
} from "./replica-subscription.ts";

/** What happened at a node's end of the connection. `nowMs` is by the monotonic clock. */
export type ReplicaInput =
  | {
      readonly kind: "interest";
      /** What the replica holds of each wanted namespace. */
      readonly wanted: ReadonlyMap<NamespaceId, Held>;
      readonly nowMs: number;
    }
  | { readonly kind: "connected"; readonly nowMs: number }
  | { readonly kind: "disconnected" }
  | { readonly kind: "message"; readonly message: MessageFromOrigin; readonly nowMs: number }
  | { readonly kind: "tick"; readonly nowMs: number }
  | {
      readonly kind: "write";
      /** Never used before. */
      readonly id: number;
      readonly namespace: NamespaceId;
      readonly operations: ReadonlyArray<KvOperation>;
      readonly nowMs: number;
    }
  | {
      /** The answer to a `store`, in the order in which they were asked for. */
      readonly kind: "stored";
      readonly token: number;
      readonly isStored: boolean;
      /** What the replica holds now. */
      readonly held: Held;
    };

/** What the node's end does about it. */
export type ReplicaEffect =
  | { readonly kind: "send"; readonly message: MessageToOrigin }
  | {
      readonly kind: "store";
      readonly token: number;
      readonly namespace: NamespaceId;
      readonly action: StoreAction;
    }
  | ({ readonly kind: "settle" } & SettledWrite)
  /** Something to tell the operator, who may need to act. */
  | { readonly kind: "report"; readonly namespace: NamespaceId; readonly text: string }
  | { readonly kind: "cut"; readonly reason: string };

/** Where the replica of a wanted namespace stands. */
export interface ReplicaPosition {
  readonly namespace: NamespaceId;
  readonly standing: Standing;
  /** What it holds; null for nothing. */
  readonly applied: Revision | null;
  /** It holds all that the origin had when this node's monotonic clock showed this; null before it is known. */
  readonly freshMs: number | null;
}

interface StoreInFlight {
  readonly subscription: ReplicaSubscription;
  /** Number of the message behind it; 0 when it came over an earlier connection, or from none. */
  sequence: number;
  readonly bytes: number;
}

// A sound origin never has more than its window and one message under way.
const STORING_BYTES_MAX = 4 * LIMITS.windowBytesMax;

/**
 * The node's end of the connection, without any input or output of its own: the same inputs give the same
 * effects. It outlives connections. Only what continues the accepted revision exactly is stored; at
 * anything else it asks again from there, and the origin answers with the log or with a snapshot.
 */
export class ReplicaSession {
  readonly #subscriptions = new Map<NamespaceId, ReplicaSubscription>();
  readonly #byId = new Map<number, ReplicaSubscription>();
  readonly #writes = new PendingWrites();
  readonly #storing = new Map<number, StoreInFlight>();
  #storingBytes = 0;
  #isConnected = false;
  #lastSubscription = 0;
  #lastToken = 0;
  #nowMs: number;
  /** When the origin was last heard, and when it last sent data. */
  #heardMs: number;
  #dataMs: number;
  #pingMs: number;
  /** The latest moment after which the link is known to have worked in both directions. */
  #echoMs: number;
  /** The highest sequence number of this connection. */
  #sequence = 0;
  #effects: ReplicaEffect[] = [];

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
    this.#heardMs = nowMs;
    this.#dataMs = nowMs;
    this.#pingMs = nowMs;
    this.#echoMs = nowMs;
  }

  /** Takes one input and returns what to do, in order. */
  handle(input: ReplicaInput): ReadonlyArray<ReplicaEffect> {
    this.#effects = [];
    if ("nowMs" in input) this.#nowMs = input.nowMs;
    switch (input.kind) {
      case "interest":
        this.#onInterest(input.wanted);
        break;
      case "connected":
        this.#onConnected();
        break;
      case "disconnected":
        this.#isConnected = false;
        this.#settle(this.#writes.linkLost());
        break;
      case "message":
        this.#heardMs = this.#nowMs;
        this.#onMessage(input.message);
        break;
      case "tick":
        this.#onTick();
        break;
      case "write":
        this.#onWrite(input);
        break;
      case "stored":
        this.#onStored(input);
        break;
    }
    return this.#effects;
  }

  /** `undefined` for a namespace that is not wanted. */
  position(namespace: NamespaceId): ReplicaPosition | undefined {
    const subscription = this.#subscriptions.get(namespace);
    return subscription === undefined ? undefined : positionOf(subscription);
  }

  /** Of all wanted namespaces. */
  positions(): ReplicaPosition[] {
    return [...this.#subscriptions.values()].map(positionOf);
  }

  #onInterest(wanted: ReadonlyMap<NamespaceId, Held>): void {
    for (const subscription of this.#subscriptions.values()) {
      if (!wanted.has(subscription.namespace)) this.#forget(subscription);
    }
    for (const [namespace, held] of wanted) {
      if (!this.#subscriptions.has(namespace)) this.#follow(namespace, held);
    }
  }

  #follow(namespace: NamespaceId, held: Held): void {
    const subscription = new ReplicaSubscription(namespace, held, this.#nowMs);
    this.#subscriptions.set(namespace, subscription);
    if (this.#isConnected) this.#ask(subscription);
  }

  #forget(subscription: ReplicaSubscription): void {
    this.#subscriptions.delete(subscription.namespace);
    this.#byId.delete(subscription.id);
    if (this.#isConnected) this.#send({ kind: "unsubscribe", subscription: subscription.id });
    this.#store(subscription, { kind: "drop" });
  }

  #onConnected(): void {
    this.#isConnected = true;
    this.#heardMs = this.#nowMs;
    this.#dataMs = this.#nowMs;
    this.#echoMs = this.#nowMs;
    this.#sequence = 0;
    for (const store of this.#storing.values()) store.sequence = 0;
    this.#ping();
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.standing !== "broken") this.#ask(subscription);
    }
  }

  /** Subscribes anew from what is accepted; whatever was under way for the old number is ignored from now on. */
  #ask(subscription: ReplicaSubscription): void {
    this.#byId.delete(subscription.id);
    this.#lastSubscription += 1;
    subscription.restart(this.#lastSubscription, this.#nowMs);
    this.#byId.set(subscription.id, subscription);
    const { id, namespace } = subscription;
    const { revision: after, snapshot } = subscription.position;
    const begun = snapshot === null ? {} : { snapshot };
    this.#send({ kind: "subscribe", subscription: id, namespace, after, ...begun });
  }

  #onMessage(message: MessageFromOrigin): void {
    switch (message.kind) {
      case "heartbeat":
        return this.#onHeartbeat(message);
      case "written": {
        const namespace = this.#writes.written(message.id, message.revision);
        return namespace === undefined ? undefined : this.#settleReached(namespace);
      }
      case "refused": {
        const code = isKvErrorCode(message.code) ? message.code : "storage_failed";
        const result = { kind: "failed", code, message: message.message } as const;
        return this.#settle(this.#writes.refused(message.id, result));
      }
      case "gone":
        return this.#onGone(this.#byId.get(message.subscription));
      default:
        return this.#onData(message);
    }
  }

  #onGone(subscription: ReplicaSubscription | undefined): void {
    if (subscription === undefined) return;
    this.#byId.delete(subscription.id);
    subscription.stop("gone");
    subscription.forget();
    this.#store(subscription, { kind: "drop" });
  }

  #onData(message: DataMessage): void {
    this.#dataMs = this.#nowMs;
    if (message.sequence > this.#sequence + 1) this.#suspectLoss();
    this.#sequence = Math.max(this.#sequence, message.sequence);
    const subscription = this.#byId.get(message.subscription);
    if (subscription !== undefined) this.#takeData(subscription, message);
    this.#acknowledge();
  }

  /** It is unknown whose message is missing: whoever is behind at the next heartbeat asks again. */
  #suspectLoss(): void {
    for (const subscription of this.#subscriptions.values()) subscription.isSuspect = true;
  }

  #takeData(subscription: ReplicaSubscription, message: DataMessage): void {
    try {
      const action = subscription.take(message);
      if (action !== undefined) this.#store(subscription, action, message);
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      this.#report(subscription, error.message);
      if (error.code !== "history_diverged") this.#askAgain(subscription);
    }
  }

  /** Asking again from what is accepted repairs what was lost or damaged on the way. */
  #askAgain(subscription: ReplicaSubscription): void {
    const sinceMs = this.#nowMs - subscription.askedMs;
    if (sinceMs >= LIMITS.replicaAskMs) return this.#ask(subscription);
    // Damage that comes back at once is not the network's: a pause keeps it from becoming a storm.
    subscription.stop("broken");
    subscription.askedMs = this.#nowMs + LIMITS.replicaRetryMs;
  }

  #onHeartbeat(message: MessageFromOrigin & { kind: "heartbeat" }): void {
    const revisions = new Map(message.positions.map((each) => [each.subscription, each.revision]));
    this.#echoMs = Math.max(this.#echoMs, message.echoMs ?? 0);
    const time = { nowMs: this.#nowMs, dataMs: this.#dataMs };
    for (const subscription of this.#subscriptions.values()) {
      const revision = revisions.get(subscription.id);
      if (revision !== undefined && message.echoMs !== null) {
        subscription.freshness.heard({ revision, echoMs: message.echoMs }, subscription.applied);
      }
      if (subscription.isStalled(revision, time)) this.#ask(subscription);
    }
  }

  #onTick(): void {
    this.#settle(this.#writes.expire(this.#nowMs, this.#echoMs));
    for (const subscription of this.#subscriptions.values()) this.#mend(subscription);
    if (!this.#isConnected) return;
    if (this.#nowMs - this.#heardMs > LIMITS.linkSilenceMs) {
      return this.#cut(`nothing was heard of the origin for ${this.#nowMs - this.#heardMs} ms`);
    }
    if (this.#nowMs - this.#pingMs >= LIMITS.heartbeatMs) this.#ping();
  }

  /** After a failed transaction: begins anew from what is on disk, once nothing is in flight. */
  #mend(subscription: ReplicaSubscription): void {
    const isDue = this.#nowMs >= subscription.askedMs && subscription.storing === 0;
    if (subscription.standing !== "broken" || !isDue) return;
    subscription.rewind();
    subscription.standing = "following";
    if (this.#isConnected) this.#ask(subscription);
  }

  #ping(): void {
    this.#pingMs = this.#nowMs;
    this.#send({ kind: "ping", atMs: this.#nowMs });
    // Again, in case the last one was lost: the window would stay closed.
    this.#acknowledge();
  }

  #onWrite(input: ReplicaInput & { kind: "write" }): void {
    const { id, namespace, operations } = input;
    const refusal = this.#refusal(namespace);
    if (refusal !== undefined) return this.#settle([{ id, result: refusal }]);
    const body = encodeWrite(operations);
    this.#writes.add({ id, namespace, bytes: body.body.length, sentMs: this.#nowMs });
    this.#send({ kind: "write", id, namespace, ...body });
  }

  #refusal(namespace: NamespaceId): (WriteResult & { kind: "failed" }) | undefined {
    if (!this.#isConnected) {
      const message = "this node has no connection to the origin: nothing was written, try again";
      return { kind: "failed", code: "origin_unreachable", message };
    }
    const { fullReason } = this.#writes;
    if (fullReason !== undefined) return { kind: "failed", code: "busy", message: fullReason };
    if (this.#subscriptions.get(namespace)?.standing !== "diverged") return undefined;
    const message = `the replica of namespace ${namespace} has another history than the origin`;
    return { kind: "failed", code: "history_diverged", message };
  }

  #onStored(input: ReplicaInput & { kind: "stored" }): void {
    const store = this.#storing.get(input.token);
    if (store === undefined) return;
    this.#storing.delete(input.token);
    this.#storingBytes -= store.bytes;
    this.#acknowledge();
    const { subscription } = store;
    subscription.storing -= 1;
    subscription.stored(input.held);
    if (!input.isStored) this.#onStoreFailed(subscription);
    subscription.freshness.reached(subscription.applied);
    this.#settleReached(subscription.namespace);
  }

  #onStoreFailed(subscription: ReplicaSubscription): void {
    if (subscription.standing !== "following") return;
    subscription.stop("broken");
    subscription.askedMs = this.#nowMs + LIMITS.replicaRetryMs;
    this.#report(subscription, "a change could not be stored; the replica will ask for it again");
  }

  #settleReached(namespace: NamespaceId): void {
    // Without a replica here there is nothing to be read from, and nothing to wait for.
    const subscription = this.#subscriptions.get(namespace);
    const applied = subscription === undefined ? Infinity : subscription.applied;
    if (applied !== null) this.#settle(this.#writes.reached(namespace, applied));
  }

  #store(subscription: ReplicaSubscription, action: StoreAction, message?: DataMessage): void {
    this.#lastToken += 1;
    const bytes = message !== undefined && "body" in message ? message.body.length : 0;
    const sequence = message?.sequence ?? 0;
    this.#storing.set(this.#lastToken, { subscription, sequence, bytes });
    this.#storingBytes += bytes;
    subscription.storing += 1;
    const { namespace } = subscription;
    this.#effects.push({ kind: "store", token: this.#lastToken, namespace, action });
    if (this.#storingBytes > STORING_BYTES_MAX) this.#cut("the origin sent past its window");
  }

  /** Tells the origin up to where nothing is in flight any more. */
  #acknowledge(): void {
    if (!this.#isConnected) return;
    const first = this.#storing.values().find(({ sequence }) => sequence > 0);
    const sequence = first === undefined ? this.#sequence : first.sequence - 1;
    if (sequence > 0) this.#send({ kind: "received", sequence });
  }

  #settle(settled: ReadonlyArray<SettledWrite>): void {
    for (const each of settled) this.#effects.push({ kind: "settle", ...each });
  }

  #report({ namespace }: ReplicaSubscription, text: string): void {
    this.#effects.push({ kind: "report", namespace, text });
  }

  #send(message: MessageToOrigin): void {
    this.#effects.push({ kind: "send", message });
  }

  #cut(reason: string): void {
    this.#effects.push({ kind: "cut", reason });
  }
}

function positionOf(subscription: ReplicaSubscription): ReplicaPosition {
  const { namespace, standing, applied, freshness } = subscription;
  return { namespace, standing, applied, freshMs: freshness.freshMs };
}
