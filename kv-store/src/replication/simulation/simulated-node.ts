import type { Key, KvCondition, KvOperation } from "../../entry.ts";
import { LIMITS } from "../../limits.ts";
import type { NamespaceId } from "../../names.ts";
import type { MessageFromOrigin } from "../messages.ts";
import type { SnapshotPosition } from "../../replica/replica.ts";
import type { OwnWrite } from "../own-writes.ts";
import type { ReplicaEffect, ReplicaInput, ReplicaPosition } from "../replica-exchange.ts";
import { ReplicaSession } from "../replica-session.ts";
import { NodeClock } from "./node-clock.ts";
import type { NodeLink, NodeWatcher } from "./node-watcher.ts";
import type { Random } from "./random.ts";
import { bytesOf, SimulatedDisk, type Holding } from "./simulated-disk.ts";
import type { ValueSource } from "./simulated-read.ts";
import { SimulatedValues } from "./simulated-values.ts";
import type { Timeline } from "./timeline.ts";

// How often a tick reads all that is held: every five seconds on average.
const CHECKED = 0.05;

// A node that was alone for so long has nothing left to end: each look would be the same as the one before.
const RESTS_AFTER_MS = 60_000;
const REST_MS = 15 * 60_000;

/** An input without its time, which it gets when the node takes it. */
type Untimed<Input> = Input extends { readonly nowMs: number } ? Omit<Input, "nowMs"> : Input;

/** A node: a real session over a disk that is slow, may fail, and survives a crash in part. */
export class SimulatedNode {
  readonly number: number;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #watcher: NodeWatcher;
  readonly #values: SimulatedValues;
  /** The namespaces that it wants, and since when it has. */
  readonly wanted = new Map<NamespaceId, number>();
  #disk = new SimulatedDisk();
  #session!: ReplicaSession; // set by `#start`
  /** Counts the node's lives: what was planned in an earlier one does not happen. */
  #life = 0;
  readonly clock: NodeClock;
  #link: NodeLink | undefined;
  /** The machine stands still until then, and afterwards finds all that came meanwhile. */
  #frozenUntilMs = 0;
  /** What is to happen when it stands still no more. */
  #waiting: Array<() => void> = [];
  /** Until then each commit takes long. */
  #slowUntilMs = 0;
  /** Until then every commit fails. */
  #fullUntilMs = 0;
  /** Since when it has run without a break, and has been connected. */
  runningSinceMs = 0;
  connectedSinceMs = Infinity;
  #disconnectedMs = 0;
  /** Whether nothing waits for anything, so that it seldom looks at its deadlines. */
  #isResting = false;
  /** Of the bytes that the disk has not committed, those that came over earlier connections: the first ones. */
  #earlierBytes = 0;
  isFaulty = true;
  isOff = false; // and does nothing at all
  /** Counts the times that it began to look at its deadlines: only the last one goes on. */
  #looking = 0;

  constructor(
    number: number,
    parts: {
      readonly timeline: Timeline;
      readonly random: Random;
      readonly namespaces: ReadonlyArray<NamespaceId>;
      readonly watcher: NodeWatcher;
      readonly valueOf: ValueSource;
    },
  ) {
    this.number = number;
    this.clock = new NodeClock(parts);
    this.#timeline = parts.timeline;
    this.#random = parts.random;
    this.#watcher = parts.watcher;
    this.#values = new SimulatedValues({
      ...{ node: this, disk: this.#disk, random: this.#random, valueOf: parts.valueOf },
      ...{ timeline: this.#timeline, isConnected: () => this.#link !== undefined },
      onChange: () => this.#watcher.changed(this),
      onRead: (read) => this.#watcher.readEnded(this, read),
    });
    for (const namespace of parts.namespaces) this.wanted.set(namespace, this.#timeline.nowMs);
    this.#start();
  }

  holding(namespace: NamespaceId): Holding | undefined {
    return this.#disk.holding(namespace);
  }

  /** Every namespace of which its disk has something, once all that is under way is done. */
  namespacesOnDisk(): NamespaceId[] {
    return this.#disk.namespaces();
  }

  /** What is collected of a snapshot; null without one, and while anything is under way that may change it. */
  unfinishedSnapshot(namespace: NamespaceId): SnapshotPosition | null {
    return this.#disk.isIdle(namespace) ? this.#disk.held(namespace).snapshot : null;
  }

  /** Bytes of values that were handed to the disk, over whichever connection they came, and are not committed. */
  get queuedBytes(): number {
    return this.#disk.queuedBytes;
  }

  /** Those of them that came over this connection. */
  get storingBytes(): number {
    return this.queuedBytes - this.#earlierBytes;
  }

  position(namespace: NamespaceId): ReplicaPosition | undefined {
    return this.#session.position(namespace);
  }

  /** The writes for which reads of their keys wait. */
  ownWrites(namespace: NamespaceId): ReadonlyArray<OwnWrite> {
    return this.#session.ownWrites(namespace);
  }

  connected(link: NodeLink): void {
    this.#link = link;
    this.connectedSinceMs = this.#timeline.nowMs;
    if (this.#isResting) this.#look();
    this.#whenAwake(() => {
      this.#earlierBytes = this.queuedBytes;
    });
    this.#take({ kind: "connected" });
  }

  disconnected(): void {
    this.#link = undefined;
    this.connectedSinceMs = Infinity;
    this.#disconnectedMs = this.#timeline.nowMs;
    this.#take({ kind: "disconnected" });
  }

  receive(message: MessageFromOrigin): void {
    // As `ReplicaClient` does.
    if (message.kind === "heartbeat" && message.echoMs !== null) {
      const heard = { originMs: message.atMs, echoMs: message.echoMs };
      this.#whenAwake(() => this.clock.heard(heard));
    }
    this.#take({ kind: "message", message });
  }

  write(
    write: { readonly id: number; readonly namespace: NamespaceId },
    operations: ReadonlyArray<KvOperation>,
    conditions: ReadonlyArray<KvCondition>,
  ): void {
    this.#take({ kind: "write", ...write, operations, conditions });
  }

  /** Wants a namespace from now on, or no longer. */
  toggle(namespace: NamespaceId): void {
    this.#whenAwake(() => {
      if (!this.wanted.delete(namespace)) this.wanted.set(namespace, this.#timeline.nowMs);
      this.#takeInterest();
    });
  }

  /** As the budget decides, and the client is told. */
  setPartial(namespace: NamespaceId, isPartial: boolean): void {
    this.#whenAwake(() => {
      this.#disk.setPartial(namespace, isPartial);
      this.#take({ kind: "extent", namespace, held: this.#disk.held(namespace) });
    });
  }

  /** Since when it has run and been connected, both at once. */
  get steadySinceMs(): number {
    return Math.max(this.runningSinceMs, this.connectedSinceMs);
  }

  /** Whether its disk has ever changed a bit of the namespace. */
  hasFlipped(namespace: NamespaceId): boolean {
    return this.#disk.flipped.has(namespace);
  }

  isPartial(namespace: NamespaceId): boolean {
    return this.#disk.isPartial(namespace);
  }

  /** Does something later in this life. */
  later(delayMs: number, action: () => void): void {
    const life = this.#life;
    this.#timeline.after(delayMs, () => {
      if (life === this.#life) this.#whenAwake(action);
    });
  }

  /** Reads a key. */
  read(namespace: NamespaceId, key: Key): void {
    this.#whenAwake(() => this.#values.read(namespace, key));
  }

  /** Ends the process at once, and starts it again. */
  crash(): void {
    this.#disk.endProcess(this.#random);
    this.#start();
  }

  /** Ends the process, and starts it after so long. */
  switchOff(durationMs: number): void {
    this.#disk.endProcess(this.#random);
    this.#life += 1;
    this.#looking += 1;
    this.#link = undefined;
    this.isOff = true;
    this.#timeline.after(durationMs, () => this.#start());
  }

  /** Ends the power, and what was not flushed with it. */
  cutPower(): void {
    this.#disk.endPower(this.#random);
    this.clock.endPower();
    this.#start();
  }

  /** Its disk changes a bit of what it holds. */
  damage(namespace: NamespaceId): void {
    this.#disk.damage(namespace, this.#random);
  }

  freeze(durationMs: number): void {
    // Never shorter than it was: what waits for the end of the longer one would come too late.
    this.#frozenUntilMs = Math.max(this.#frozenUntilMs, this.#timeline.nowMs + durationMs);
    this.runningSinceMs = this.#frozenUntilMs;
  }

  get isFrozen(): boolean {
    return this.#frozenUntilMs > this.#timeline.nowMs;
  }

  slowDisk(durationMs: number): void {
    this.#slowUntilMs = this.#timeline.nowMs + durationMs;
  }

  fillDisk(durationMs: number): void {
    this.#fullUntilMs = this.#timeline.nowMs + durationMs;
  }

  /** Everything works from now on; what stands still or is slow comes to its end. */
  endFaults(): void {
    this.isFaulty = false;
    this.#fullUntilMs = 0;
  }

  #start(): void {
    this.#life += 1;
    this.#link = undefined;
    this.isOff = false;
    this.connectedSinceMs = Infinity;
    this.runningSinceMs = this.#timeline.nowMs;
    this.#disconnectedMs = this.#timeline.nowMs;
    this.#frozenUntilMs = 0;
    this.#waiting = [];
    this.#earlierBytes = 0;
    this.clock.start();
    this.#session = new ReplicaSession(this.clock.nowMs);
    this.#takeInterest();
    this.#look();
  }

  /** As `ReplicaClient.setInterest` does. */
  #takeInterest(): void {
    const wanted = [...this.wanted.keys()].map((each) => [each, this.#disk.held(each)] as const);
    this.#take({ kind: "interest", wanted: new Map(wanted) });
    for (const namespace of this.#disk.namespaces()) {
      if (!this.wanted.has(namespace))
        this.#enqueue({ token: 0, namespace, action: { kind: "drop" } });
    }
  }

  #look(): void {
    this.#looking += 1;
    this.#tick(this.#looking);
  }

  #tick(looking: number): void {
    if (looking !== this.#looking) return;
    if (!this.isFrozen) {
      this.#take({ kind: "tick" });
      this.#watcher.read(this);
      if (this.#random.chance(CHECKED)) this.#checkContent();
      this.#values.keepExtents();
    }
    const aloneMs = this.#link === undefined ? this.#timeline.nowMs - this.#disconnectedMs : 0;
    this.#isResting = aloneMs > RESTS_AFTER_MS;
    const delayMs = this.#isResting ? REST_MS : LIMITS.tickMs;
    this.#timeline.after(delayMs, () => this.#tick(looking));
  }

  /** As the real replica does in the background. */
  #checkContent(): void {
    for (const namespace of this.#disk.damaged()) {
      this.#take({ kind: "damaged", namespace, what: "another state" });
    }
  }

  #take(input: Untimed<ReplicaInput>): void {
    this.#whenAwake(() => {
      const timed = { ...input, nowMs: this.clock.nowMs } as ReplicaInput; // exactly what was left out
      for (const effect of this.#session.handle(timed)) this.#perform(effect);
      this.#watcher.changed(this);
    });
  }

  /** Does something in this life, unless it is off, and not while the machine stands still; in the order of the calls. */
  #whenAwake(action: () => void): void {
    const life = this.#life;
    const act = (): void => {
      if (life === this.#life && !this.isOff) action();
    };
    if (!this.isFrozen && this.#waiting.length === 0) return act();
    if (this.#waiting.push(act) === 1) this.#wakeLater(this.#waiting);
  }

  /** It may have to stand still for longer by then, and all that waits goes on to wait. */
  #wakeLater(waiting: ReadonlyArray<() => void>): void {
    this.#timeline.after(this.#frozenUntilMs - this.#timeline.nowMs, () => {
      // Another life has begun.
      if (waiting !== this.#waiting) return;
      if (this.isFrozen) return this.#wakeLater(waiting);
      this.#waiting = [];
      for (const act of waiting) act();
    });
  }

  #perform(effect: ReplicaEffect): void {
    switch (effect.kind) {
      case "send":
        if (effect.message.kind === "subscribe") this.#watcher.asked(this, effect.message);
        return this.#link?.send(effect.message);
      case "cut":
        this.#watcher.cut(this, effect.reason);
        return this.#link?.cut();
      case "settle":
        return this.#watcher.settled(this, effect.id, effect.result);
      case "report":
        return this.#watcher.repaired(this, effect.text);
      case "store":
        return this.#enqueue(effect);
    }
  }

  #enqueue(store: Parameters<SimulatedDisk["handOver"]>[0]): void {
    this.#disk.handOver(store);
    const isSlow = this.#slowUntilMs > this.#timeline.nowMs;
    const delayMs = isSlow ? this.#slowUntilMs - this.#timeline.nowMs : this.#random.below(30);
    this.later(delayMs, () => this.#storeNext());
  }

  #storeNext(): void {
    const isFull = this.#fullUntilMs > this.#timeline.nowMs;
    const isFailing = isFull || (this.isFaulty && this.#random.chance(0.01));
    const done = this.#disk.commitNext(isFailing);
    if (done === undefined) return;
    if (this.#random.chance(0.3)) this.#disk.flush();
    const { outcome, change } = done;
    const { token, namespace, action } = change;
    this.#earlierBytes = Math.max(0, this.#earlierBytes - bytesOf(action));
    const held = this.#disk.held(namespace);
    const isFollowing = this.position(namespace)?.standing === "following";
    // What else is under way may remove it, for a namespace that was not wanted meanwhile.
    const isFound = outcome === "damaged" && isFollowing && this.#disk.isLast(namespace);
    this.#take({ kind: "stored", token, outcome, held });
    if (isFound) this.#watcher.damageFound(this, namespace);
    this.#whenAwake(() => this.#disk.answered(namespace));
  }
}
