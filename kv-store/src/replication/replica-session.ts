import { isKvErrorCode, KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { HistoryPoint, NamespaceId } from "../names.ts";
import type { StoreAction } from "../replica/replica.ts";
import { encodeWrite } from "./batch.ts";
import type { MessageFromOrigin, MessageToOrigin } from "./messages.ts";
import { OwnWrites, type OwnWrite } from "./own-writes.ts";
import { PendingWrites, type SettledWrite } from "./pending-writes.ts";
import {
  type ReplicaEffect,
  type ReplicaInput,
  type ReplicaPosition,
  type StoreOutcome,
} from "./replica-exchange.ts";
import { type StoreInFlight, StoresInFlight } from "./stores-in-flight.ts";
import { ReplicaSubscription, type DataMessage, type Held } from "./replica-subscription.ts";

/**
 * The node's end of the connection, without any input or output of its own: the same inputs give the same
 * effects. It outlives connections. Only what continues the accepted revision exactly is stored; at
 * anything else it asks again from there, and the origin answers with the log or with a snapshot.
 */
export class ReplicaSession {
  readonly #subscriptions = new Map<NamespaceId, ReplicaSubscription>();
  readonly #byId = new Map<number, ReplicaSubscription>();
  readonly #own = new OwnWrites();
  readonly #writes = new PendingWrites(this.#own);
  readonly #storing = new StoresInFlight();
  #isConnected = false;
  #lastSubscription = 0;
  #nowMs: number;
  /** When the origin was last heard, and when it last sent data. */
  #heardMs: number;
  #dataMs: number;
  #pingMs: number;
  /** The latest moment after which the link is known to have worked in both directions. */
  #echoMs: number;
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
      case "extent":
        this.#onExtent(input);
        break;
      case "connected":
        this.#onConnected();
        break;
      case "disconnected":
        this.#isConnected = false;
        this.#settle(this.#writes.linkLost(this.#nowMs, (each) => this.#acceptedOf(each)));
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
      case "damaged":
        this.#onDamaged(input);
        break;
    }
    return this.#effects;
  }

  /** `undefined` for a namespace that is not wanted. */
  position(namespace: NamespaceId): ReplicaPosition | undefined {
    return this.#subscriptions.get(namespace)?.report;
  }

  /** Of all wanted namespaces. */
  positions(): ReplicaPosition[] {
    return [...this.#subscriptions.values()].map(({ report }) => report);
  }

  /** Acknowledged writes of the namespace that its reads don't see yet. */
  ownWrites(namespace: NamespaceId): ReadonlyArray<OwnWrite> {
    return this.#own.of(namespace);
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
    this.#own.forget(subscription.namespace);
    this.#byId.delete(subscription.id);
    if (this.#isConnected) this.#send({ kind: "unsubscribe", subscription: subscription.id });
    this.#store(subscription, { kind: "drop" });
  }

  /** A snapshot that is on its way, or about to be, should bring what is to be held. */
  #onExtent({ namespace, held }: ReplicaInput & { kind: "extent" }): void {
    const subscription = this.#subscriptions.get(namespace);
    if (subscription === undefined) return;
    subscription.isPartial = held.isPartial;
    if (this.#isConnected && subscription.isOfWrongExtent) this.#ask(subscription);
  }

  #onConnected(): void {
    this.#isConnected = true;
    // What an earlier connection left on its way to the disk is not there yet.
    this.#settle(this.#writes.linkLost(this.#nowMs, () => 0));
    this.#heardMs = this.#nowMs;
    this.#dataMs = this.#nowMs;
    this.#echoMs = this.#nowMs;
    this.#storing.connectionChanged();
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
    const { point, snapshot } = subscription.position;
    this.#send({
      kind: "subscribe",
      subscription: id,
      namespace,
      ...(point === null ? { after: null } : { after: point.revision, digest: point.digest }),
      ...(snapshot === null ? {} : { snapshot }),
      ...(subscription.isPartial ? { valuesByReference: true } : {}),
    });
  }

  #onMessage(message: MessageFromOrigin): void {
    switch (message.kind) {
      case "heartbeat":
        return this.#onHeartbeat(message);
      case "written":
        return this.#onWritten(message);
      case "refused": {
        const code = isKvErrorCode(message.code) ? message.code : "storage_failed";
        const { found } = message;
        const result = { kind: "failed", code, message: message.message, found } as const;
        return this.#settle(this.#writes.refused(message.id, result));
      }
      case "gone":
        return this.#onGone(this.#byId.get(message.subscription));
      default:
        return this.#onData(message);
    }
  }

  #onWritten({ id, revision }: MessageFromOrigin & { kind: "written" }): void {
    const write = this.#writes.written(id, revision);
    if (write === undefined) return;
    const subscription = this.#subscriptions.get(write.namespace);
    // Of another history than it was sent in it is no news, and a snapshot on its way goes on counting.
    const isNews = revision <= write.after && write.history === subscription?.history;
    if (subscription !== undefined && isNews) this.#onOtherHistory(subscription);
    this.#settleReached(write.namespace);
  }

  #onGone(subscription: ReplicaSubscription | undefined): void {
    if (subscription === undefined) return;
    this.#byId.delete(subscription.id);
    subscription.stop("gone");
    this.#own.forget(subscription.namespace);
    subscription.forget();
    this.#store(subscription, { kind: "drop" });
  }

  #onData(message: DataMessage): void {
    this.#dataMs = this.#nowMs;
    if (this.#storing.arrived(message)) this.#suspectLoss();
    const subscription = this.#byId.get(message.subscription);
    if (subscription !== undefined) this.#takeData(subscription, message);
    if (this.#storing.isNews) this.#acknowledge();
  }

  /** It is unknown whose message is missing: whoever is behind at the next heartbeat asks again. */
  #suspectLoss(): void {
    for (const subscription of this.#subscriptions.values()) subscription.isSuspect = true;
  }

  #takeData(subscription: ReplicaSubscription, message: DataMessage): void {
    if (!subscription.expects(message)) return;
    if (subscription.isForeign(message)) this.#onOtherHistory(subscription);
    try {
      this.#store(subscription, subscription.take(message, this.#nowMs), message);
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      this.#report(subscription, error.message);
      this.#askAgain(subscription);
    }
  }

  /** The origin never had what is held: whatever it has now counts, also when that is less. */
  #onOtherHistory(subscription: ReplicaSubscription): void {
    const { applied, repair } = subscription;
    if (repair?.reason !== "other-history") {
      this.#report(
        subscription,
        "the origin has another history than this node, as after a restore from an older copy: what the node " +
          `holds, revision ${applied?.revision ?? "none"}, is replaced by what the origin has`,
      );
    }
    subscription.distrust("other-history", this.#nowMs);
    subscription.freshness.forget();
  }

  #onDamaged({ namespace, what }: ReplicaInput & { kind: "damaged" }): void {
    const subscription = this.#subscriptions.get(namespace);
    if (subscription === undefined || subscription.standing === "gone") return;
    if (subscription.repair !== undefined) return;
    this.#onDamage(subscription, what);
    this.#mend(subscription);
  }

  #onDamage(subscription: ReplicaSubscription, what: string): void {
    this.#report(subscription, `what this node holds is damaged and will be replaced: ${what}`);
    subscription.distrust(subscription.repair?.reason ?? "damaged", this.#nowMs);
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
    const points = new Map(message.positions.map((each) => [each.subscription, each]));
    this.#echoMs = Math.max(this.#echoMs, message.echoMs ?? 0);
    const time = { nowMs: this.#nowMs, dataMs: this.#dataMs };
    for (const subscription of this.#subscriptions.values()) {
      const point = points.get(subscription.id);
      if (point !== undefined) this.#onPoint(subscription, point, message.echoMs);
      if (subscription.isStalled(point?.revision, time)) this.#ask(subscription);
    }
  }

  #onPoint(subscription: ReplicaSubscription, point: HistoryPoint, echoMs: number | null): void {
    if (echoMs === null) return;
    this.#own.heard(subscription.namespace, point, echoMs);
    if (subscription.contradicts(point, echoMs)) {
      this.#onOtherHistory(subscription);
      return this.#mend(subscription);
    }
    subscription.freshness.heard({ revision: point.revision, echoMs }, subscription.confirmed);
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

  /** Begins anew after a failed transaction, or in the place of what is held, once nothing is in flight. */
  #mend(subscription: ReplicaSubscription): void {
    const { standing, storing, askedMs } = subscription;
    if (storing > 0 || standing === "gone") return;
    if (standing === "broken") {
      if (this.#nowMs < askedMs) return;
      subscription.rewind();
      subscription.standing = "following";
      if (this.#isConnected) this.#ask(subscription);
    } else if (subscription.isRepairDue(this.#nowMs) && this.#isConnected) {
      this.#ask(subscription);
    }
  }

  #ping(): void {
    this.#pingMs = this.#nowMs;
    this.#send({ kind: "ping", atMs: this.#nowMs });
    // All there is, and again, in case the last one was lost: the window would stay closed.
    this.#acknowledge();
  }

  #onWrite(input: ReplicaInput & { kind: "write" }): void {
    const { id, namespace, operations, conditions } = input;
    const refusal = this.#writes.refusal(this.#isConnected);
    if (refusal !== undefined) return this.#settle([{ id, result: refusal }]);
    const body = encodeWrite(operations, conditions);
    const { history = 0, known: after = 0 } = this.#subscriptions.get(namespace) ?? {};
    const [keys, bytes] = [operations.map(({ key }) => key), body.body.length];
    this.#writes.add({ id, namespace, keys, bytes, sentMs: this.#nowMs, history, after });
    this.#send({ kind: "write", id, namespace, ...body });
  }

  #acceptedOf(namespace: NamespaceId): number {
    return this.#subscriptions.get(namespace)?.accepted?.revision ?? 0;
  }

  #onStored({ token, outcome, held }: ReplicaInput & { kind: "stored" }): void {
    const store = this.#storing.end(token);
    if (store === undefined) return;
    if (this.#storing.isNews) this.#acknowledge();
    const { subscription, kind, era } = store;
    subscription.stored(held, outcome === "stored");
    const isRefused = outcome === "damaged" && kind.startsWith("snapshot");
    if (isRefused) subscription.refused(this.#nowMs);
    if (outcome === "stored" && kind === "snapshot-end") subscription.replaced(era, this.#nowMs);
    // Of a snapshot behind which another one was begun it is no news: the other one decides.
    const isGivenUp = isRefused && this.#storing.isBegunAnew(subscription);
    if (outcome !== "stored" && !isGivenUp) this.#onStoreFailed(store, outcome);
    subscription.freshness.reached(subscription.confirmed);
    this.#settleReached(subscription.namespace);
  }

  #onStoreFailed({ subscription, isResumed }: StoreInFlight, outcome: StoreOutcome): void {
    if (subscription.standing !== "following") return;
    subscription.stop("broken");
    if (outcome === "failed") {
      subscription.askedMs = this.#nowMs + LIMITS.replicaRetryMs;
      if (!subscription.failedToStore()) return;
      return this.#report(subscription, "a change could not be stored; it is asked for again");
    }
    // A snapshot that was begun in one history and went on in another leads nowhere, either.
    if (isResumed) this.#onOtherHistory(subscription);
    else this.#onDamage(subscription, "it does not lead to the state of the origin");
    subscription.askedMs = subscription.repair?.dueMs ?? this.#nowMs;
    this.#mend(subscription);
  }

  #settleReached(namespace: NamespaceId): void {
    // Without a replica here there is nothing to be read from, and nothing to wait for.
    const subscription = this.#subscriptions.get(namespace);
    const applied = subscription === undefined ? Infinity : subscription.confirmed;
    if (applied === null) return;
    this.#own.reached(namespace, applied);
    this.#settle(this.#writes.reached(namespace, applied));
  }

  #store(subscription: ReplicaSubscription, action: StoreAction, message?: DataMessage): void {
    const token = this.#storing.begin(subscription, action.kind, message);
    subscription.storing += 1;
    this.#effects.push({ kind: "store", token, namespace: subscription.namespace, action });
    if (this.#storing.isOverfull) this.#cut("the origin sent past its window");
  }

  /** Tells the origin up to where nothing is in flight any more. */
  #acknowledge(): void {
    if (!this.#isConnected) return;
    const sequence = this.#storing.tell();
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
