import type { KvOperation } from "../../entry.ts";
import type { HistoryPoint, NamespaceId, Revision } from "../../names.ts";
import type { SnapshotPosition, StoreAction } from "../../replica/replica.ts";
import { MessageFromOrigin } from "../messages.ts";
import type { WriteResult } from "../pending-writes.ts";
import type {
  ReplicaEffect,
  ReplicaInput,
  ReplicaPosition,
  StoreOutcome,
} from "../replica-exchange.ts";
import { ReplicaSession } from "../replica-session.ts";
import type { Held } from "../replica-subscription.ts";
import type { Random } from "./random.ts";
import { applied, digestOfAll, entryOf, NOTHING, type State } from "./simulated-history.ts";
import type { Timeline } from "./timeline.ts";

/** What a node has on its disk of one namespace. */
export interface Holding extends State {
  readonly revision: Revision;
  /** The disk has changed it, which nobody was told. */
  readonly isDamaged: boolean;
}

/** A snapshot that is being collected, with the digest of what has come so far. */
type Collected = SnapshotPosition & { readonly state: State };

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
  readonly #snapshots = new Map<NamespaceId, Collected>();
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

  position(namespace: NamespaceId): ReplicaPosition | undefined {
    return this.#session.position(namespace);
  }

  /** Changes one bit of one entry, if there is one, behind everybody's back. */
  damage(namespace: NamespaceId): void {
    const holding = this.holdings.get(namespace);
    if (holding === undefined || holding.entries.size === 0) return;
    const { put } = this.#random.pick([...holding.entries.values()]);
    if (put.value.kind !== "inline") return;
    const bytes = Buffer.from(put.value.bytes);
    bytes[0] = (bytes[0] ?? 0) ^ (1 << this.#random.below(8));
    const damaged = entryOf({ ...put, value: { kind: "inline", bytes } });
    const entries = new Map(holding.entries).set(put.key, damaged);
    this.holdings.set(namespace, { ...holding, entries, isDamaged: true });
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
    if (this.#random.chance(CHECKED)) this.#checkContent();
    this.#timeline.after(250, () => this.#tick(life));
  }

  /** As the real replica does in the background. */
  #checkContent(): void {
    for (const [namespace, { entries, digest }] of this.holdings) {
      if (digestOfAll(entries) === digest) continue;
      this.#take({ kind: "damaged", namespace, what: "another state", nowMs: this.nowMs });
    }
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
    const outcome = isFailing ? "failed" : this.#storeOnDisk(namespace, action);
    this.#take({ kind: "stored", token, outcome, held: this.#held(namespace) });
  }

  #held(namespace: NamespaceId): Held {
    const snapshot = this.#snapshots.get(namespace);
    const holding = this.holdings.get(namespace);
    return {
      point: holding === undefined ? null : pointOf(holding),
      snapshot: snapshot === undefined ? null : { ...pointOf(snapshot), after: snapshot.after },
    };
  }

  /** One transaction. */
  #storeOnDisk(namespace: NamespaceId, action: StoreAction): StoreOutcome {
    const snapshot = this.#snapshots.get(namespace);
    switch (action.kind) {
      case "batch":
        return this.#storeBatch(namespace, action);
      case "snapshot-start":
        this.#snapshots.set(namespace, { ...pointOf(action), after: null, state: NOTHING });
        return "stored";
      case "snapshot-page": {
        if (snapshot?.after !== action.after) return "failed";
        const state = action.operations.reduce<State>(applied, snapshot.state);
        this.#snapshots.set(namespace, { ...snapshot, after: action.through, state });
        return "stored";
      }
      case "snapshot-batch": {
        if (snapshot?.revision !== action.after) return "failed";
        const state = action.operations.reduce<State>(applied, snapshot.state);
        this.#snapshots.set(namespace, { ...snapshot, ...pointOf(action), state });
        return "stored";
      }
      case "snapshot-end": {
        const { revision, through } = action;
        if (snapshot?.revision !== revision || snapshot.after !== through) return "failed";
        this.#snapshots.delete(namespace);
        return this.#hold(namespace, snapshot.state, { ...pointOf(action), isDamaged: false });
      }
      case "drop":
        this.holdings.delete(namespace);
        this.#snapshots.delete(namespace);
        return "stored";
    }
  }

  #storeBatch(namespace: NamespaceId, batch: StoreAction & { kind: "batch" }): StoreOutcome {
    const holding = this.holdings.get(namespace);
    if (holding?.revision !== batch.after) return "failed";
    const { isDamaged } = holding;
    const state = batch.operations.reduce<State>(applied, holding);
    return this.#hold(namespace, state, { ...pointOf(batch), isDamaged });
  }

  #hold(
    namespace: NamespaceId,
    { entries, digest }: State,
    promised: HistoryPoint & { readonly isDamaged: boolean },
  ): StoreOutcome {
    if (digest !== promised.digest) return "damaged";
    this.holdings.set(namespace, { ...promised, entries });
    return "stored";
  }
}

// How often a tick reads all that is held: every five seconds on average.
const CHECKED = 0.05;

function pointOf({ revision, digest }: HistoryPoint): HistoryPoint {
  return { revision, digest };
}
