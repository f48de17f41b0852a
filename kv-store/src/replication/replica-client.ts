import type { Clock } from "../clock.ts";
import type { KvCondition, KvOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import type { NamespaceId, Revision, StateDigest } from "../names.ts";
import type { Replica } from "../replica/replica.ts";
import type { Channel } from "./channel.ts";
import { MessageFromOrigin } from "./messages.ts";
import type { SettledWrite } from "./pending-writes.ts";
import { lackOf, type CopyState, type ReadDemand } from "./read-demand.ts";
import type { ReplicaEffect, ReplicaInput, StoreOutcome } from "./replica-exchange.ts";
import { ReplicaSession } from "./replica-session.ts";
import type { Held, RepairReason } from "./replica-subscription.ts";

export interface ReplicaClientOptions {
  /** Stays the caller's, who closes it after the client. */
  readonly replica: Replica;
  readonly clock: Clock;
  readonly log: Log;
}

/** How far a node's copy of a namespace is. */
export interface ReplicaStatus {
  readonly namespace: NamespaceId;
  /** 0 also while nothing has arrived. */
  readonly revision: number;
  /** At most this much older than the origin; null before the origin was first heard. */
  readonly lagMs: number | null;
  /** Why the copy is being replaced as a whole, if it is. Until then reads go on with what is held. */
  readonly repairing: RepairReason | null;
  /** How often it was since the node started, and why the last time. */
  readonly repairs: number;
  readonly lastRepair: RepairReason | null;
  /** `partial`: values are fetched when they are read. `filling`: they are on their way back. */
  readonly extent: "whole" | "partial" | "filling";
  /** What the copy takes of this node's disk, about. */
  readonly bytes: number;
  /** The disk refuses changes: reads go on with what is held, until it takes them again. */
  readonly isStorageFailing: boolean;
  /** Of the state as of `revision`; null while nothing is held. */
  readonly digest: StateDigest | null;
}

interface Write {
  resolve(revision: Revision): void;
  reject(error: KvError): void;
}

interface Waiter {
  readonly namespace: NamespaceId;
  readonly demand: ReadDemand;
  readonly deadlineMs: number;
  resolve(): void;
  reject(error: KvError): void;
}

/**
 * A node's end of the replication: keeps the replica following the origin, and takes its writes there. It
 * lives as long as the node and is given each new connection.
 */
export class ReplicaClient {
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #session: ReplicaSession;
  readonly #stops: ReadonlyArray<() => void>;
  readonly #writes = new Map<number, Write>();
  /** Namespaces whose last change was refused. */
  readonly #failing = new Set<NamespaceId>();
  /** Changes of the replica under way. */
  readonly #storing = new Set<Promise<void>>();
  /** What this node's workers bind, and until when it keeps what they no longer do. */
  #bound: ReadonlySet<NamespaceId> = new Set();
  readonly #leaving = new Map<NamespaceId, number>();
  /** How many bound namespaces there was no room for. */
  #leftOut = 0;
  #waiters: Waiter[] = [];
  /** How many of them are reads, which are bounded. */
  #waitingReads = 0;
  #channel: Channel | undefined;
  #lastWrite = 0;
  #isClosed = false;

  constructor(options: ReplicaClientOptions) {
    this.#replica = options.replica;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#session = new ReplicaSession(options.clock.monotonicMs());
    this.#stops = [
      options.clock.every(LIMITS.tickMs, () => this.#onTick()),
      options.replica.onDamage((namespace, what) =>
        this.#take({ kind: "damaged", namespace, what, nowMs: this.#clock.monotonicMs() }),
      ),
    ];
  }

  /**
   * Says which namespaces this node holds from now on. All others are removed from its disk, those that were
   * wanted before after `LIMITS.interestGraceMs`: a worker that comes back soon finds its data. Call it with
   * what the last desired state wants, never before that is known. Of more than `LIMITS.subscriptionsMax` those
   * that came last are left out, which is logged: reads of them fail with `replica_behind`.
   */
  setInterest(namespaces: Iterable<NamespaceId>): void {
    const bound = new Set(namespaces);
    const untilMs = this.#clock.monotonicMs() + LIMITS.interestGraceMs;
    for (const each of this.#bound) if (!bound.has(each)) this.#leaving.set(each, untilMs);
    for (const each of bound) this.#leaving.delete(each);
    this.#bound = bound;
    this.#follow();
  }

  #follow(): void {
    const wanted = new Map<NamespaceId, Held>();
    // One more than there is room for takes the place of none that is followed, or was by an earlier run.
    const bound = [...this.#bound];
    const isKnown = (each: NamespaceId): boolean =>
      this.#session.position(each) !== undefined || this.#replica.revision(each) !== undefined;
    const first = bound.filter(isKnown);
    const others = bound.filter((each) => !isKnown(each));
    for (const each of [...first, ...others].slice(0, LIMITS.subscriptionsMax)) {
      wanted.set(each, this.#held(each));
    }
    this.#tellLeftOut(bound.length);
    // The last to leave stay longest, as far as there is room.
    for (const each of [...this.#leaving.keys()].toReversed()) {
      if (wanted.size < LIMITS.subscriptionsMax) wanted.set(each, this.#held(each));
      else this.#leaving.delete(each);
    }
    this.#take({ kind: "interest", wanted, nowMs: this.#clock.monotonicMs() });
    // What an earlier run of the node left, and this one never wanted.
    for (const namespace of this.#replica.held()) {
      if (!wanted.has(namespace)) void this.#store(namespace, { kind: "drop" });
    }
  }

  /** Said once for each number of them. */
  #tellLeftOut(boundCount: number): void {
    const count = Math.max(0, boundCount - LIMITS.subscriptionsMax);
    if (count > 0 && count !== this.#leftOut) {
      const text = `this node's workers bind ${boundCount} namespaces, and it can follow ${LIMITS.subscriptionsMax}`;
      this.#log.error({ count }, `${text}: the others can't be read here`);
    }
    this.#leftOut = count;
  }

  /** Uses a new connection from now on; the one before is closed. */
  attach(channel: Channel): void {
    if (this.#isClosed) return channel.close("the node is stopping");
    this.#detach(this.#channel, "replaced by a new connection");
    this.#channel = channel;
    channel.onMessage((message) => {
      if (this.#channel === channel) this.#onMessage(message);
    });
    channel.onClose(() => this.#detach(channel, "closed"));
    if (this.#channel === channel)
      this.#take({ kind: "connected", nowMs: this.#clock.monotonicMs() });
  }

  /**
   * Resolves with the revision when the write is durable at the origin, and visible in this node's replica
   * unless the stream is cut in between: then reads of its keys wait, see `readable`. Large values must be
   * stored before. Rejected with `origin_unreachable`, at once without a connection and within
   * `LIMITS.originSilenceMs` when it goes silent, or with the origin's own refusal: `precondition_failed` when
   * a condition is not true. After a retryable rejection the write may still have happened; repeating it is
   * safe, and with conditions it happens once at most.
   */
  write(
    namespace: NamespaceId,
    operations: ReadonlyArray<KvOperation>,
    conditions: ReadonlyArray<KvCondition> = [],
  ): Promise<Revision> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closedError());
      this.#lastWrite += 1;
      const id = this.#lastWrite;
      this.#writes.set(id, { resolve, reject });
      const nowMs = this.#clock.monotonicMs();
      this.#take({ kind: "write", id, namespace, operations, conditions, nowMs });
    });
  }

  /**
   * Resolves when the replica holds the namespace. Rejected with `namespace_not_found` when the origin has
   * no such namespace, and with `replica_behind` after `LIMITS.replicaReadyMs`.
   */
  ready(namespace: NamespaceId): Promise<void> {
    return this.#wait(namespace, {}, LIMITS.replicaReadyMs);
  }

  /**
   * Resolves when the copy is what the read wants: at once in this turn, `undefined`, when it is already. The
   * read must follow in the turn in which it resolves. Rejected as `ready` is, and with `replica_behind` after
   * `LIMITS.freshReadMs`, or when a write that this node has acknowledged did not come within
   * `LIMITS.ownWriteMs` of the cut. Rejected with `busy` when too many wait already.
   */
  readable(namespace: NamespaceId, demand: ReadDemand): Promise<void> | undefined {
    if (!this.#isClosed && lackOf(this.#copyOf(namespace), demand) === undefined) return undefined;
    if (this.#waitingReads >= LIMITS.waitingReadsMax) {
      return Promise.reject(new KvError("busy", `${this.#waitingReads} reads wait already`));
    }
    this.#waitingReads += 1;
    return this.#wait(namespace, demand, LIMITS.freshReadMs).finally(() => {
      this.#waitingReads -= 1;
    });
  }

  /** How fresh the copy is. */
  freshness(namespace: NamespaceId): Pick<CopyState, "revision" | "lagMs"> {
    const { revision, lagMs } = this.#copyOf(namespace);
    return { revision, lagMs };
  }

  /** Values of a namespace may be absent in the replica from now on, or no longer. */
  extentChanged(namespace: NamespaceId): void {
    const nowMs = this.#clock.monotonicMs();
    this.#take({ kind: "extent", namespace, held: this.#held(namespace), nowMs });
  }

  #wait(namespace: NamespaceId, demand: ReadDemand, waitMs: number): Promise<void> {
    const deadlineMs = this.#clock.monotonicMs() + waitMs;
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closedError());
      this.#waiters.push({ namespace, demand, deadlineMs, resolve, reject });
      this.#wakeWaiters();
    });
  }

  /** Every wanted namespace that is held or on its way. */
  status(): ReadonlyArray<ReplicaStatus> {
    const nowMs = this.#clock.monotonicMs();
    return this.#session.positions().map((position) => {
      const { namespace, freshMs, isStorageFailing, repairing, repairs, lastRepair } = position;
      const lagMs = freshMs === null ? null : Math.max(0, nowMs - freshMs);
      const { revision = 0, digest = null } = this.#replica.point(namespace) ?? {};
      const { isPartial, bytes, absentBytes } = this.#replica.extent(namespace);
      return {
        ...{ namespace, revision, digest, lagMs, repairing, repairs, lastRepair },
        extent: isPartial ? "partial" : absentBytes > 0 ? "filling" : "whole",
        ...{ bytes, isStorageFailing },
      };
    });
  }

  /** Rejects what is pending, and resolves when no change of the replica is under way. May be called twice. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#detach(this.#channel, "the node is stopping");
      this.#isClosed = true;
      for (const stop of this.#stops) stop();
      for (const pending of [...this.#writes.values(), ...this.#waiters]) {
        pending.reject(closedError());
      }
      this.#writes.clear();
      this.#waiters = [];
    }
    await Promise.all(this.#storing);
  }

  #onTick(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#take({ kind: "tick", nowMs });
    this.#wakeWaiters();
    const due = [...this.#leaving].filter(([, untilMs]) => nowMs >= untilMs);
    for (const [namespace] of due) this.#leaving.delete(namespace);
    if (due.length > 0) this.#follow();
  }

  #onMessage(message: unknown): void {
    const parsed = MessageFromOrigin.safeParse(message);
    if (!parsed.success) {
      this.#log.warn({ err: parsed.error }, "the origin sent what is no message");
      return this.#detach(this.#channel, "a message could not be parsed");
    }
    const { data } = parsed;
    if (data.kind === "heartbeat" && data.echoMs !== null) {
      this.#replica.heard({ originMs: data.atMs, echoMs: data.echoMs });
    }
    this.#take({ kind: "message", message: data, nowMs: this.#clock.monotonicMs() });
    if (data.kind === "heartbeat") this.#wakeWaiters();
  }

  #detach(channel: Channel | undefined, reason: string): void {
    if (channel === undefined || this.#channel !== channel) return;
    this.#channel = undefined;
    channel.close(reason);
    this.#take({ kind: "disconnected" });
  }

  #take(input: ReplicaInput): void {
    if (this.#isClosed) return;
    for (const effect of this.#session.handle(input)) this.#perform(effect);
  }

  #perform(effect: ReplicaEffect): void {
    switch (effect.kind) {
      case "send":
        return this.#channel?.send(effect.message);
      case "store":
        return this.#storeFor(effect);
      case "settle":
        return this.#settle(effect);
      case "report":
        return this.#log.warn({ namespace: effect.namespace }, effect.text);
      case "cut":
        this.#log.warn({ reason: effect.reason }, "cutting the stream from the origin");
        return this.#detach(this.#channel, effect.reason);
    }
  }

  #storeFor(effect: ReplicaEffect & { kind: "store" }): void {
    const { token, namespace, action } = effect;
    const storing = this.#store(namespace, action).then((outcome) => {
      this.#take({ kind: "stored", token, outcome, held: this.#held(namespace) });
      this.#wakeWaiters();
    });
    this.#storing.add(storing);
    void storing.finally(() => this.#storing.delete(storing));
  }

  #held(namespace: NamespaceId): Held {
    const point = this.#replica.point(namespace) ?? null;
    const { isPartial } = this.#replica.extent(namespace);
    return { point, snapshot: this.#replica.snapshot(namespace) ?? null, isPartial };
  }

  /** Never rejected. */
  async #store(
    namespace: NamespaceId,
    action: (ReplicaEffect & { kind: "store" })["action"],
  ): Promise<StoreOutcome> {
    try {
      // It may be what somebody here waits for: a write of this node, or a change that a read wants to see.
      const isAwaited = this.#writes.size > 0 || this.#waiters.length > 0;
      await this.#replica.store(namespace, action, { isAwaited });
      if (this.#failing.delete(namespace)) {
        this.#log.warn({ namespace }, "the replica takes changes again");
      }
      return "stored";
    } catch (err) {
      // The session asks for it again, from what the replica then holds, or for all of it. A full disk stays
      // so for a while, which is said once.
      if (!this.#failing.has(namespace)) {
        this.#log.error({ err, namespace, action: action.kind }, "the replica refused a change");
      }
      this.#failing.add(namespace);
      return err instanceof KvError && err.code === "replica_damaged" ? "damaged" : "failed";
    }
  }

  #settle({ id, result }: SettledWrite): void {
    const write = this.#writes.get(id);
    this.#writes.delete(id);
    if (result.kind !== "failed") return write?.resolve(result.revision);
    const { code, message, found } = result;
    write?.reject(new KvError(code, message, { found }));
  }

  #wakeWaiters(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#waiters = this.#waiters.filter((waiter) => !this.#answer(waiter, nowMs));
  }

  #answer(waiter: Waiter, nowMs: number): boolean {
    const { namespace, demand } = waiter;
    const lack = lackOf(this.#copyOf(namespace), demand);
    if (lack === undefined) {
      waiter.resolve();
    } else if (this.#session.position(namespace)?.standing === "gone") {
      waiter.reject(new KvError("namespace_not_found", `namespace ${namespace} does not exist`));
    } else if (nowMs >= Math.min(waiter.deadlineMs, lack.untilMs)) {
      waiter.reject(new KvError("replica_behind", lack.text));
    } else {
      return false;
    }
    return true;
  }

  #copyOf(namespace: NamespaceId): CopyState {
    const { confirmed = null, freshMs = null } = this.#session.position(namespace) ?? {};
    return {
      ...{ namespace, confirmed },
      revision: this.#replica.revision(namespace),
      lagMs: freshMs === null ? null : Math.max(0, this.#clock.monotonicMs() - freshMs),
      own: this.#session.ownWrites(namespace),
    };
  }
}

function closedError(): KvError {
  return new KvError("closed", "the replica's client is closed");
}
