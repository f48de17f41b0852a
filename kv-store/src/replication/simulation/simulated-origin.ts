import type { ContentHash, Key, KvCondition, KvEntry, KvOperation, KvRecord } from "../../entry.ts";
import { LIMITS } from "../../limits.ts";
import { Revision, type HistoryPoint, type NamespaceId } from "../../names.ts";
import { ExpiryClock } from "../../origin/expiry-clock.ts";
import { preconditionError } from "../../origin/origin-errors.ts";
import { encodeOperation } from "../../record-codec.ts";
import { encodeBatches, encodePage, type Batch } from "../batch.ts";
import type { WriteOutcome } from "../origin-session.ts";
import type { OriginRead } from "../origin-subscription.ts";
import { summaryOf } from "./entries-summary.ts";
import { ENTRIES } from "./made-entries.ts";
import type { Random } from "./random.ts";
import type { Rhythm } from "./seed-kind.ts";
import { SimulatedConnection, type OriginLink } from "./simulated-connection.ts";
import { lightForm, SimulatedHistory } from "./simulated-history.ts";
import { SimulatedLogs } from "./simulated-logs.ts";
import type { Timeline } from "./timeline.ts";

interface QueuedWrite {
  /** The node's number of it; 0 for one that was made at the origin. */
  readonly id: number;
  readonly namespace: NamespaceId;
  readonly operations: ReadonlyArray<KvOperation>;
  readonly conditions: ReadonlyArray<KvCondition>;
  readonly settle: (outcome: WriteOutcome) => void;
}

export interface SimulatedOriginOptions {
  readonly timeline: Timeline;
  readonly random: Random;
  readonly rhythm: Rhythm;
  readonly isSound: boolean;
}

/** An origin in memory behind real sessions: its disk commits in groups, is slow, and may fail. */
export class SimulatedOrigin {
  /** Of each namespace all histories that there were; the last one counts. */
  readonly #histories: ReadonlyMap<NamespaceId, SimulatedHistory[]>;
  readonly namespaces: ReadonlyArray<NamespaceId>;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #connections = new Set<SimulatedConnection>();
  /** Writes of the group that is being committed: a crash loses them, and nobody was told of them. */
  #group: QueuedWrite[] = [];
  /** Counts the origin's lives. */
  #life = 0;
  readonly #rhythm: Rhythm;
  readonly #logs: SimulatedLogs;
  /** Nothing ever fails here but the process as a whole. */
  readonly isSound: boolean;
  /** Whether reads and commits fail now and then. */
  isFaulty = true;
  /** How many operations were committed, in all histories. */
  commits = 0;
  /** Reads of the log from where it does not reach back to, and entries that were swept. */
  horizons = 0;
  expired = 0;
  /** What its wall clock shows more than it should. */
  #clockErrorMs = 0;
  #time: ExpiryClock;
  /** What it last said of the time in this life. */
  #saidMs = 0;
  /** What it has on disk of its time. */
  #savedSeconds = 0;
  /** When its clock was last set. */
  clockSetMs = 0;
  /** The latest moment that its clock has ever led to, if nobody had set it back. */
  #latest = { atMs: 0, timeMs: 0 };
  /** When an older copy was last put in the place of all that there was. */
  restoredMs = 0;

  constructor(namespaces: ReadonlyArray<NamespaceId>, parts: SimulatedOriginOptions) {
    this.namespaces = namespaces;
    this.#histories = new Map(namespaces.map((each) => [each, [new SimulatedHistory()]]));
    this.#timeline = parts.timeline;
    this.#random = parts.random;
    this.isSound = parts.isSound;
    this.#rhythm = parts.rhythm;
    this.#time = this.#startClock(0);
    this.#logs = new SimulatedLogs({
      ...{ rhythm: parts.rhythm, timeline: parts.timeline },
      histories: () => this.namespaces.map((each) => this.history(each)),
      clockMs: () => this.#clockMs,
    });
    this.#sweep();
  }

  /** By which entries expire. */
  nowMs(): number {
    const before = this.#saidMs;
    const timeMs = this.#time.nowMs();
    if (timeMs < before) throw new Error(`the origin's time went back from ${before} to ${timeMs}`);
    this.#saidMs = timeMs;
    if (timeMs > this.latestMs) this.#latest = { atMs: this.#timeline.nowMs, timeMs };
    return timeMs;
  }

  /** No earlier than anything that it says of the time, to whomever and however late it is heard. */
  get latestMs(): number {
    return this.#latest.timeMs + this.#timeline.nowMs - this.#latest.atMs;
  }

  /** Somebody sets its wall clock. */
  setClock(errorMs: number): void {
    this.#clockErrorMs = errorMs;
    this.clockSetMs = this.#timeline.nowMs;
  }

  /** Its wall clock. */
  get #clockMs(): number {
    return this.#timeline.nowMs + this.#clockErrorMs;
  }

  #startClock(reachedSeconds: number): ExpiryClock {
    const nowMs = (): number => this.#clockMs;
    const clock = { nowMs, monotonicMs: nowMs, every: () => () => {} };
    return new ExpiryClock(clock, reachedSeconds);
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

  /** The process ends: what was not committed is lost. The caller closes every link. */
  crash(): void {
    this.#group = [];
    this.#life += 1;
    this.#saidMs = 0;
    this.#logs.restarted();
    this.#time = this.#startClock(this.#savedSeconds);
  }

  /** Puts the copy of an earlier moment in the place of everything. The caller closes every link. */
  restore(copiedMs: number): void {
    this.crash();
    for (const histories of this.#histories.values()) {
      const last = histories.at(-1);
      histories.push(new SimulatedHistory(last, last?.revisionAt(copiedMs)));
    }
    this.restoredMs = this.#timeline.nowMs;
  }

  /** Queues a write for the next group commit. */
  write(write: QueuedWrite): void {
    if (this.#group.length === 0) {
      const life = this.#life;
      this.#timeline.after(this.#random.below(20), () => {
        if (life === this.#life) this.#commitGroup();
      });
    }
    this.#group.push(write);
  }

  /** Committed by another control plane of the same database: nobody here is told. */
  writeElsewhere(namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): void {
    const history = this.history(namespace);
    if (history.isDeleted) return;
    history.append(operations, this.#moment);
    this.commits += operations.length;
  }

  get #moment(): { readonly nowMs: number; readonly clockMs: number } {
    return { nowMs: this.#timeline.nowMs, clockMs: this.#clockMs };
  }

  /** Turns what has expired into deletes, every now and then. */
  #sweep(): void {
    const nowSeconds = Math.floor(this.nowMs() / 1_000);
    this.#savedSeconds = nowSeconds;
    for (const namespace of this.namespaces) {
      const operations: KvOperation[] = [];
      const { isDeleted, entries } = this.history(namespace);
      if (isDeleted || !summaryOf(entries).expiries.some((each) => each <= nowSeconds)) continue;
      for (const { put } of entries.values()) {
        const hasExpired = (put.expiresAt ?? Infinity) <= nowSeconds;
        if (hasExpired) operations.push({ kind: "delete", key: put.key });
      }
      this.expired += operations.length;
      this.#commit({ id: 0, namespace, operations, conditions: [], settle: () => undefined });
    }
    this.#logs.age();
    this.#timeline.after(this.#rhythm.sweepMs, () => this.#sweep());
  }

  deleteNamespace(namespace: NamespaceId): void {
    this.history(namespace).isDeleted = true;
  }

  /** Where it stands; `undefined` when there is no such namespace. */
  point(namespace: NamespaceId): HistoryPoint | undefined {
    const { isDeleted, point } = this.history(namespace);
    return isDeleted ? undefined : point;
  }

  /** The value of a key, if it has this hash; else the revision at which it is so. */
  valueOf(namespace: NamespaceId, key: Key, hash: ContentHash): Uint8Array | Revision {
    const { isDeleted, entries, revision } = this.history(namespace);
    const put = entries.get(key)?.put;
    const { value, expiresAt = Infinity } = put ?? {};
    const isLive = !isDeleted && expiresAt * 1_000 > this.nowMs();
    if (!isLive || put === undefined || value?.kind !== "inline") return revision;
    const light = lightForm(put);
    // Smaller ones are never absent anywhere.
    const actual = light.kind === "put" && light.value.kind === "absent" ? light.value.hash : null;
    return actual === hash ? value.bytes : revision;
  }

  readLog({
    namespace,
    after: { revision, digest },
  }: OriginRead & { kind: "read-log" }): ReadonlyArray<Batch> | "truncated" | "diverged" {
    const history = this.history(namespace);
    const { records, states, logStart } = history;
    if (revision < logStart) {
      this.horizons += 1;
      this.#logs.checkTruncated(history, revision);
      return "truncated";
    }
    if (states[revision]?.digest !== digest) return "diverged";
    const count = 1 + this.#random.below(this.#rhythm.logPageRecords);
    return encodeBatches(pageOf(records, { start: revision, count }));
  }

  readEntries({ namespace, after, valuesByReference }: OriginRead & { kind: "read-entries" }): {
    readonly point: HistoryPoint;
    readonly page: ReturnType<typeof encodePage>;
  } {
    const history = this.history(namespace);
    history.heldUntilMs = this.#timeline.nowMs + this.#rhythm.logHoldMs;
    const keys = [...history.entries.keys()].filter((key) => after === null || key > after);
    const entries = keys
      .toSorted()
      .slice(0, 1 + this.#random.below(4))
      .flatMap((key) => history.entries.get(key) ?? [])
      .map(({ put, revision }) => ({ ...put, revision: revision as Revision }) as KvEntry); // a put is an entry, and says so
    const page = encodePage(after, entries, { valuesByReference });
    return { point: history.point, page };
  }

  #commitGroup(): void {
    const group = this.#group;
    this.#group = [];
    if (this.isFaulty && this.#random.chance(0.01)) {
      const code = "storage_failed";
      for (const { settle } of group)
        settle({ kind: "refused", code, message: "nothing was kept" });
      return;
    }
    for (const write of group) this.#commit(write);
  }

  #commit({ id, namespace, operations, conditions, settle }: QueuedWrite): void {
    const history = this.history(namespace);
    if (history.isDeleted) {
      return settle({ kind: "refused", code: "namespace_not_found", message: "it is gone" });
    }
    if (id > 0 && history.writes.has(id)) throw new Error(`write ${id} was made twice`);
    for (const condition of conditions) {
      const found = this.liveRevision(history, condition.key);
      if (found === condition.revision) continue;
      const { code, message } = preconditionError(condition, found);
      return settle({ kind: "refused", code, message, found });
    }
    const records = history.append(operations, this.#moment);
    this.commits += operations.length;
    const { revision } = history;
    if (id > 0) history.writes.set(id, revision);
    const batches = encodeBatches(records);
    for (const each of this.#connections) each.take({ kind: "committed", namespace, batches });
    settle({ kind: "written", revision });
    this.#logs.cut(history, { random: this.#random, isFaulty: this.isFaulty });
  }

  /** Of what the key holds; 0 when it is absent, or has expired. */
  liveRevision(history: SimulatedHistory, key: Key): Revision {
    const entry = history.entries.get(key);
    const isLive = entry !== undefined && (entry.put.expiresAt ?? Infinity) * 1_000 > this.nowMs();
    return Revision.parse(isLive ? entry.revision : 0);
  }
}

/** As a real origin does, a page ends behind the record that crosses its size: one batch. */
function pageOf(
  records: ReadonlyArray<KvRecord>,
  { start, count }: { readonly start: number; readonly count: number },
): ReadonlyArray<KvRecord> {
  let bytes = 0;
  const page = records.slice(start, start + count);
  const crossing = page.findIndex(({ operation }) => {
    bytes += encodedBytes(operation);
    return bytes >= LIMITS.logPageBytesMax;
  });
  return crossing === -1 ? page : page.slice(0, crossing + 1);
}

function encodedBytes(operation: KvOperation): number {
  const { length } =
    operation.kind === "put" ? ENTRIES.of(operation).bytes : encodeOperation(operation);
  return length;
}
