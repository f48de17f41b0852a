import type { KvEntry, KvOperation } from "../../entry.ts";
import type { NamespaceId } from "../../names.ts";
import { encodeBatches, encodePage } from "../batch.ts";
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
  readonly histories: ReadonlyMap<NamespaceId, SimulatedHistory>;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #connections = new Set<SimulatedConnection>();
  /** Whether reads fail now and then. */
  isFaulty = true;

  constructor(
    namespaces: ReadonlyArray<NamespaceId>,
    parts: { readonly timeline: Timeline; readonly random: Random },
  ) {
    this.histories = new Map(namespaces.map((each) => [each, new SimulatedHistory()]));
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

  history(namespace: NamespaceId): SimulatedHistory {
    const history = this.histories.get(namespace);
    if (history === undefined) throw new Error(`no namespace ${namespace}`);
    return history;
  }

  commit(namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): number {
    const history = this.history(namespace);
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
    const positions = [...namespaces].map(
      ([subscription, namespace]) =>
        [subscription, this.#origin.history(namespace).revision] as const,
    );
    const atMs = this.#timeline.nowMs;
    this.take({ kind: "positions-read", echoMs, atMs, revisions: new Map(positions) });
  }

  #write({ id, namespace, operations }: OriginEffect & { kind: "write" }): void {
    this.#origin.commit(namespace, operations);
    const { revision } = this.#origin.history(namespace);
    this.take({ kind: "write-settled", id, outcome: { kind: "written", revision } });
  }

  #readLog({ subscription, namespace, after }: OriginEffect & { kind: "read-log" }): void {
    const { records, logStart, revision } = this.#origin.history(namespace);
    const isTruncated = after < logStart || after > revision;
    const page = records.slice(after, after + 1 + this.#random.below(5));
    const batches = isTruncated ? "truncated" : encodeBatches(page);
    // More may be committed between a read and the arrival of its answer.
    const answer = { kind: "log-read", subscription, batches } as const;
    this.#timeline.after(this.#random.below(20), () => this.take(answer));
  }

  #readEntries({ subscription, namespace, after }: OriginEffect & { kind: "read-entries" }): void {
    const { records, revision } = this.#origin.history(namespace);
    const entries = new Map<string, KvEntry>();
    for (const { operation } of records) {
      if (operation.kind === "delete") entries.delete(operation.key);
      else entries.set(operation.key, { key: operation.key, value: operation.value });
    }
    const following = [...entries.values()].filter(({ key }) => after === null || key > after);
    const page = encodePage(
      after,
      following.toSorted((a, b) => (a.key < b.key ? -1 : 1)).slice(0, 3),
    );
    const answer = { kind: "entries-read", subscription, revision, page } as const;
    this.#timeline.after(this.#random.below(20), () => this.take(answer));
  }
}
