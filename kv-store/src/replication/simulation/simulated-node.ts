import type { KvOperation } from "../../entry.ts";
import type { NamespaceId, Revision } from "../../names.ts";
import type { SnapshotPosition, StoreAction } from "../../replica/replica.ts";
import { MessageFromOrigin } from "../messages.ts";
import type { WriteResult } from "../pending-writes.ts";
import type { Held } from "../replica-subscription.ts";
import { ReplicaSession, type ReplicaEffect, type ReplicaInput } from "../replica-session.ts";
import type { Random } from "./random.ts";
import { applied, type State } from "./simulated-history.ts";
import type { Timeline } from "./timeline.ts";

/** What a node has on its disk of one namespace. */
export interface Holding {
  readonly revision: Revision;
  readonly state: State;
}

/** One connection as the node sees it. */
export interface NodeLink {
  send(message: unknown): void;
  cut(): void;
}

interface QueuedStore {
  readonly token: number;
  readonly namespace: NamespaceId;
  readonly action: StoreAction;
}

/** A node: a real session over a disk that is slow, may fail, and survives a crash in part. */
export class SimulatedNode {
  /** The disk. */
  readonly holdings = new Map<NamespaceId, Holding>();
  /** By its clock, which differs from the simulation's own by this much. */
  readonly clockSkewMs: number;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #namespaces: ReadonlyArray<NamespaceId>;
  readonly #onSettled: (id: number, result: WriteResult) => void;
  readonly #onRepair: (text: string) => void;
  #session: ReplicaSession;
  /** Counts the node's lives: what was planned in an earlier one does not happen. */
  #life = 0;
  #link: NodeLink | undefined;
  /** What is on its way to the disk, in order. */
  #queue: QueuedStore[] = [];
  readonly #snapshots = new Map<NamespaceId, SnapshotPosition & { readonly state: State }>();
  isDiskFaulty = true;

  constructor(parts: {
    readonly timeline: Timeline;
    readonly random: Random;
    readonly namespaces: ReadonlyArray<NamespaceId>;
    readonly onSettled: (id: number, result: WriteResult) => void;
    /** Called when the session found something wrong with its stream. */
    readonly onRepair: (text: string) => void;
  }) {
    this.#timeline = parts.timeline;
    this.#random = parts.random;
    this.#namespaces = parts.namespaces;
    this.#onSettled = parts.onSettled;
    this.#onRepair = parts.onRepair;
    this.clockSkewMs = this.#random.below(20_000) - 10_000;
    this.#session = this.#start();
  }

  /** By the node's clock. */
  get nowMs(): number {
    return this.#timeline.nowMs + this.clockSkewMs;
  }

  freshMs(namespace: NamespaceId): number | null {
    return this.#session.position(namespace)?.freshMs ?? null;
  }

  connected(link: NodeLink): void {
    this.#link = link;
    this.#take({ kind: "connected", nowMs: this.nowMs });
  }

  disconnected(): void {
    this.#link = undefined;
    this.#take({ kind: "disconnected" });
  }

  receive(message: unknown): void {
    this.#take({ kind: "message", message: MessageFromOrigin.parse(message), nowMs: this.nowMs });
  }

  write(id: number, namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): void {
    this.#take({ kind: "write", id, namespace, operations, nowMs: this.nowMs });
  }

  /** Ends the process at once; of what was on its way to the disk, a part from the front arrived. */
  crash(): void {
    const written = this.#queue.slice(0, this.#random.below(this.#queue.length + 1));
    for (const { namespace, action } of written) this.#storeOnDisk(namespace, action);
    this.#queue = [];
    this.#link = undefined;
    this.#session = this.#start();
  }

  #start(): ReplicaSession {
    this.#life += 1;
    this.#session = new ReplicaSession(this.nowMs);
    const wanted = new Map(this.#namespaces.map((each) => [each, this.#held(each)]));
    this.#take({ kind: "interest", wanted, nowMs: this.nowMs });
    this.#tick(this.#life);
    return this.#session;
  }

  #tick(life: number): void {
    if (life !== this.#life) return;
    this.#take({ kind: "tick", nowMs: this.nowMs });
    this.#timeline.after(250, () => this.#tick(life));
  }

  #take(input: ReplicaInput): void {
    for (const effect of this.#session.handle(input)) this.#perform(effect);
  }

  #perform(effect: ReplicaEffect): void {
    switch (effect.kind) {
      case "send":
        return this.#link?.send(effect.message);
      case "cut":
        return this.#link?.cut();
      case "settle":
        return this.#onSettled(effect.id, effect.result);
      case "report":
        return this.#onRepair(effect.text);
      case "store":
        return this.#enqueue(effect);
    }
  }

  #enqueue(store: QueuedStore): void {
    this.#queue.push(store);
    const life = this.#life;
    this.#timeline.after(this.#random.below(30), () => {
      if (life === this.#life) this.#storeNext();
    });
  }

  #storeNext(): void {
    const store = this.#queue.shift();
    if (store === undefined) return;
    const { token, namespace, action } = store;
    const isFailing = this.isDiskFaulty && this.#random.chance(0.02);
    const isStored = !isFailing && this.#storeOnDisk(namespace, action);
    this.#take({ kind: "stored", token, isStored, held: this.#held(namespace) });
  }

  #held(namespace: NamespaceId): Held {
    const snapshot = this.#snapshots.get(namespace);
    return {
      revision: this.holdings.get(namespace)?.revision ?? null,
      snapshot:
        snapshot === undefined ? null : { revision: snapshot.revision, after: snapshot.after },
    };
  }

  /** One transaction; false when it does not fit. */
  #storeOnDisk(namespace: NamespaceId, action: StoreAction): boolean {
    const holding = this.holdings.get(namespace);
    const snapshot = this.#snapshots.get(namespace);
    switch (action.kind) {
      case "batch": {
        if (holding?.revision !== action.after) return false;
        const state = action.operations.reduce(applied, holding.state);
        this.holdings.set(namespace, { revision: action.revision, state });
        return true;
      }
      case "snapshot-start":
        this.#snapshots.set(namespace, {
          revision: action.revision,
          after: null,
          state: new Map(),
        });
        return true;
      case "snapshot-page":
        if (snapshot?.after !== action.after) return false;
        this.#snapshots.set(namespace, {
          revision: snapshot.revision,
          after: action.through,
          state: action.operations.reduce(applied, snapshot.state),
        });
        return true;
      case "snapshot-batch":
        if (snapshot?.revision !== action.after) return false;
        this.#snapshots.set(namespace, {
          revision: action.revision,
          after: snapshot.after,
          state: action.operations.reduce(applied, snapshot.state),
        });
        return true;
      case "snapshot-end":
        if (snapshot?.revision !== action.revision || snapshot.after !== action.through)
          return false;
        this.holdings.set(namespace, { revision: action.revision, state: snapshot.state });
        this.#snapshots.delete(namespace);
        return true;
      case "drop":
        this.holdings.delete(namespace);
        this.#snapshots.delete(namespace);
        return true;
    }
  }
}
