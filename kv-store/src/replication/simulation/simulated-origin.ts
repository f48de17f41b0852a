import type { KvEntry, KvOperation } from "../../entry.ts";
import type { HistoryPoint, NamespaceId } from "../../names.ts";
import { encodeBatches, encodePage, type Batch } from "../batch.ts";
import { MessageToOrigin } from "../messages.ts";
import { OriginSession, type OriginEffect, type OriginInput } from "../origin-session.ts";
import type { Random } from "./random.ts";
import { SimulatedHistory } from "./simulated-history.ts";
import type { Timeline } from "./timeline.ts";

/** One connection as the origin sees it. */
export interface OriginLink {
  send(message: unknown): void;
  cut(): void;
}

/** An origin in memory behind real sessions. Its disk is never lost, but is slow and may fail to be read. */
export class SimulatedOrigin {
  /** Of each namespace all histories that there were; the last one counts. */
  readonly #histories: ReadonlyMap<NamespaceId, SimulatedHistory[]>;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #connections = new Set<SimulatedConnection>();
  /** Whether reads fail now and then. */
  isFaulty = true;
  /** How many operations were committed, in all histories. */
  commits = 0;
  /** When an older copy was last put in the place of all that there was. */
  restoredMs = 0;

  constructor(
    namespaces: ReadonlyArray<NamespaceId>,
    parts: { readonly timeline: Timeline; readonly random: Random },
  ) {
    this.#histories = new Map(namespaces.map((each) => [each, [new SimulatedHistory()]]));
    this.#timeline = parts.timeline;
    this.#random = parts.random;
  }

  accept(link: OriginLink): SimulatedConnection {
    const parts = { origin: this, timeline: this.#timeline, random: this.#random };
    const connection = new SimulatedConnection(link, parts);
    this.#connections.add(connection);
    return connection;
  }

  forget(connection: SimulatedConnection): void {
    this.#connections.delete(connection);
  }

  /** All that there ever was, in order. */
  histories(namespace: NamespaceId): ReadonlyArray<SimulatedHistory> {
    return this.#histories.get(namespace) ?? [];
  }

  history(namespace: NamespaceId): SimulatedHistory {
    const history = this.histories(namespace).at(-1);
    if (history === undefined) throw new Error(`no namespace ${namespace}`);
    return history;
  }

  /** Puts the copy of an earlier moment in the place of everything, and starts again: all links are cut. */
  restore(copiedMs: number): void {
    for (const histories of this.#histories.values()) {
      const last = histories.at(-1);
      histories.push(new SimulatedHistory(last, last?.revisionAt(copiedMs)));
    }
    this.restoredMs = this.#timeline.nowMs;
    for (const connection of this.#connections) connection.cut();
  }

  commit(namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): number {
    const history = this.history(namespace);
    this.commits += operations.length;
    const records = operations.map((each) => history.append(each, this.#timeline.nowMs));
    if (this.#random.chance(0.2)) history.logStart = history.revision - this.#random.below(10);
    // Committed by another control plane of the same database: nobody is told.
    if (this.#random.chance(0.05)) return history.revision;
    const batches = encodeBatches(records);
    for (const each of this.#connections) each.take({ kind: "committed", namespace, batches });
    return history.revision;
  }
}

/** Carries out what one session decides, each read and write after a while. */
export class SimulatedConnection {
  readonly #link: OriginLink;
  readonly #origin: SimulatedOrigin;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #session: OriginSession;
  #isClosed = false;

  constructor(
    link: OriginLink,
    parts: {
      readonly origin: SimulatedOrigin;
      readonly timeline: Timeline;
      readonly random: Random;
    },
  ) {
    this.#link = link;
    this.#origin = parts.origin;
    this.#timeline = parts.timeline;
    this.#random = parts.random;
    this.#session = new OriginSession(parts.timeline.nowMs);
    this.#tick();
  }

  receive(message: unknown): void {
    const nowMs = this.#timeline.nowMs;
    this.take({ kind: "message", message: MessageToOrigin.parse(message), nowMs });
  }

  take(input: OriginInput): void {
    if (this.#isClosed) return;
    let effects: ReadonlyArray<OriginEffect>;
    try {
      effects = this.#session.handle(input);
    } catch {
      // As the real connection does with what was damaged on the way.
      return this.#link.cut();
    }
    for (const effect of effects) this.#perform(effect);
  }

  /** Ends it from this side, at once. */
  cut(): void {
    this.close();
    this.#link.cut();
  }

  close(): void {
    this.#isClosed = true;
    this.#origin.forget(this);
  }

  #tick(): void {
    if (this.#isClosed) return;
    this.take({ kind: "tick", nowMs: this.#timeline.nowMs });
    this.#timeline.after(250, () => this.#tick());
  }

  #perform(effect: OriginEffect): void {
    switch (effect.kind) {
      case "send":
        return this.#link.send(effect.message);
      case "cut":
        return this.#link.cut();
      default:
        return this.#timeline.after(this.#random.below(20), () => this.#answer(effect));
    }
  }

  #answer(effect: Exclude<OriginEffect, { kind: "send" | "cut" }>): void {
    if (this.#isClosed) return;
    if (effect.kind === "read-positions") return this.#readPositions(effect);
    if (effect.kind === "write") return this.#write(effect);
    const { subscription } = effect;
    if (this.#origin.isFaulty && this.#random.chance(0.05)) {
      return this.take({ kind: "read-failed", subscription, code: "storage_failed" });
    }
    if (effect.kind === "read-log") return this.#readLog(effect);
    return this.#readEntries(effect);
  }

  #readPositions({ echoMs, namespaces }: OriginEffect & { kind: "read-positions" }): void {
    const points = [...namespaces].map(
      ([subscription, namespace]) => [subscription, this.#origin.history(namespace).point] as const,
    );
    const atMs = this.#timeline.nowMs;
    this.take({ kind: "positions-read", echoMs, atMs, points: new Map(points) });
  }

  #write({ id, namespace, operations }: OriginEffect & { kind: "write" }): void {
    this.#origin.commit(namespace, operations);
    const { revision } = this.#origin.history(namespace);
    this.take({ kind: "write-settled", id, outcome: { kind: "written", revision } });
  }

  #readLog({ subscription, namespace, after }: OriginEffect & { kind: "read-log" }): void {
    const history = this.#origin.history(namespace);
    const count = 1 + this.#random.below(5);
    // More may be committed between a read and the arrival of its answer.
    const answer = {
      kind: "log-read",
      subscription,
      batches: logOf(history, after, count),
    } as const;
    this.#timeline.after(this.#random.below(20), () => this.take(answer));
  }

  #readEntries({ subscription, namespace, after }: OriginEffect & { kind: "read-entries" }): void {
    const { point, entries } = this.#origin.history(namespace);
    const following = [...entries.values()].filter(({ put }) => after === null || put.key > after);
    const ordered = following.toSorted((a, b) => (a.put.key < b.put.key ? -1 : 1));
    // A put is an entry, and says so.
    const page = encodePage(
      after,
      ordered.slice(0, 3).map(({ put }) => put as KvEntry),
    );
    const answer = { kind: "entries-read", subscription, point, page } as const;
    this.#timeline.after(this.#random.below(20), () => this.take(answer));
  }
}

/** What an origin's log says behind a point. */
function logOf(
  history: SimulatedHistory,
  { revision, digest }: HistoryPoint,
  countMax: number,
): ReadonlyArray<Batch> | "truncated" | "diverged" {
  if (revision < history.logStart) return "truncated";
  if (history.stateAt(revision)?.digest !== digest) return "diverged";
  return encodeBatches(history.records.slice(revision, revision + countMax));
}
