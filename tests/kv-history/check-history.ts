import {
  PRESENT,
  type Anomaly,
  type AnomalyKind,
  type History,
  type LoggedWrite,
  type Operation,
  type ReadOperation,
  type Seen,
  type WriteOperation,
} from "./history.ts";
import { VersionOrder } from "./version-order.ts";

// Times are cut to whole milliseconds, so "before" is certain only from one millisecond on.
const CERTAIN_MS = 1;

/** How far something must have come, and what says so. */
interface Floor {
  readonly revision: number;
  readonly by: Operation;
}

/**
 * Finds what a history breaks of the store's promises. Each answer of a node must be explained by a prefix
 * of the origin's order, and the prefixes must not go back: an answer is given the shortest prefix that
 * explains it, is not shorter than those of all answers that the node completed before, and has what was
 * written there to the keys that it tells of. If that exists for each, there is an order in which everything
 * was as promised; else there is none.
 */
export function checkHistory(history: History): ReadonlyArray<Anomaly> {
  return new HistoryCheck(history).run();
}

class HistoryCheck {
  readonly #history: History;
  readonly #order: VersionOrder;
  readonly #anomalies: Anomaly[] = [];
  readonly #acknowledged = new Floors();
  /** How far reads of each node have come, and of each session. */
  readonly #nodes = new Map<string, Floors>();
  readonly #sessions = new Map<string, Floor>();
  readonly #ownWrites = new Map<string, OwnWrites>();
  readonly #sessionWrites = new Map<string, Floor>();
  /** Of each revision, from the first on: when the last of the writes up to it was begun, as far as that is known. */
  readonly #notBeforeMs: number[] = [];
  /** Deletes of the order that stand for an acknowledged one already. */
  readonly #claimed = new Set<number>();

  constructor(history: History) {
    this.#history = history;
    this.#order = new VersionOrder(history.log);
  }

  run(): ReadonlyArray<Anomaly> {
    this.#checkOrder();
    // By the time of asking, so that everything that must come before an operation has been looked at.
    const operations = this.#history.operations.toSorted((a, b) => a.invokedMs - b.invokedMs);
    for (const operation of operations) {
      if (operation.kind === "write") this.#checkWrite(operation);
      else this.#checkRead(operation);
    }
    this.#checkFinals();
    return this.#anomalies;
  }

  /** The order itself: no gap, and nothing in it that was not written once. */
  #checkOrder(): void {
    const asked = new AskedWrites(this.#history.operations);
    let notBeforeMs = -Infinity;
    for (const [index, logged] of this.#history.log.entries()) {
      const { revision } = logged;
      if (revision !== index + 1) {
        this.#tell("revision-gap", `${revision} is at place ${index + 1}`);
      }
      const found = asked.take(logged);
      if (typeof found === "string") this.#tell(found, showLogged(logged));
      else notBeforeMs = Math.max(notBeforeMs, found);
      this.#notBeforeMs.push(notBeforeMs);
    }
  }

  #checkWrite(write: WriteOperation): void {
    const before = this.#acknowledged.before(write.invokedMs);
    const own = this.#sessionWrites.get(write.session);
    const floor = higher(before, own);
    const revision =
      write.value === null ? this.#deleteAfter(write, floor) : this.#order.revisionOf(write.value);
    if (write.outcome === "refused") {
      if (write.value !== null && revision !== undefined) this.#tell("refused-write", show(write));
      return;
    }
    if (revision === undefined) {
      if (write.outcome === "acknowledged") this.#tell("lost-write", show(write));
      return;
    }
    if (floor !== undefined && revision <= floor.revision) {
      this.#tell("write-order", `${show(write)} at ${revision}, after ${showFloor(floor)}`);
    }
    if (write.outcome === "unknown") return;
    const reached = { revision, by: write };
    this.#acknowledged.add(write.completedMs, reached);
    this.#sessionWrites.set(write.session, higher(own, reached) ?? reached);
    this.#ownWritesOf(write).add(write, reached);
  }

  /**
   * A delete leaves no token, so which of the order it is stays open: the first possible one is what its
   * node must show at least, and there must be one for each.
   */
  #deleteAfter(write: WriteOperation, floor: Floor | undefined): number | undefined {
    const first = this.#order.nextDelete(write.key, floor?.revision ?? 0);
    if (write.outcome !== "acknowledged") return undefined;
    let own = first;
    while (own !== undefined && this.#claimed.has(own)) {
      own = this.#order.nextDelete(write.key, own);
    }
    if (own === undefined) return undefined;
    this.#claimed.add(own);
    return first;
  }

  #checkRead(read: ReadOperation): void {
    const shown = higher(
      this.#floorsOf(read.node).before(read.invokedMs),
      this.#sessions.get(read.session),
    );
    const floor = higher(shown, this.#ownWritesOf(read).floor(read));
    const revision = this.#order.explain(read.seen, floor?.revision ?? 0);
    if (revision === undefined || this.#isLater(revision, read)) {
      return this.#tellUnexplained(read, floor);
    }
    this.#reach(read, { revision, by: read });
  }

  /** Whether there can't have been this revision when the read ended. */
  #isLater(revision: number, read: ReadOperation): boolean {
    return (this.#notBeforeMs[revision - 1] ?? -Infinity) > read.completedMs + CERTAIN_MS;
  }

  #tellUnexplained(read: ReadOperation, floor: Floor | undefined): void {
    for (const [key, what] of read.seen) {
      if (this.#order.explain(new Map([[key, what]]), 0) !== undefined) continue;
      return this.#tell("phantom-read", show(read));
    }
    const earliest = this.#order.explain(read.seen, 0);
    if (earliest === undefined) return this.#tell("torn-read", show(read));
    if (floor === undefined || this.#isLater(earliest, read)) {
      return this.#tell("future-read", `${show(read)}, of revision ${earliest}`);
    }
    const text = `${show(read)}, after ${showFloor(floor)}`;
    if (floor.by.kind === "write") return this.#tell("stale-own-write", text);
    const keys = [...floor.by.seen.keys()];
    this.#tell(keys.some((key) => read.seen.has(key)) ? "backwards-read" : "prefix-break", text);
  }

  /** From its end on, the node has come this far, and the session at once. */
  #reach(read: ReadOperation, reached: Floor): void {
    const own = this.#sessions.get(read.session);
    this.#sessions.set(read.session, higher(own, reached) ?? reached);
    this.#floorsOf(read.node).add(read.completedMs, reached);
  }

  #ownWritesOf({ node, invokedMs }: Operation): OwnWrites {
    const restarts = this.#history.restarts.get(node) ?? [];
    const life = restarts.filter((atMs) => atMs <= invokedMs).length;
    const known = this.#ownWrites.get(node);
    if (known?.life === life) return known;
    const ownWrites = new OwnWrites(life);
    this.#ownWrites.set(node, ownWrites);
    return ownWrites;
  }

  #checkFinals(): void {
    const expected = this.#order.final();
    for (const [node, held] of this.#history.finals) {
      const keys = new Set([...expected.keys(), ...held.keys()]);
      for (const key of keys) {
        const [here, there] = [held.get(key), expected.get(key)];
        if (here === there) continue;
        this.#tell("diverged-node", `${node} holds ${here} at ${key}, the order says ${there}`);
      }
    }
  }

  #floorsOf(node: string): Floors {
    const floors = this.#nodes.get(node) ?? new Floors();
    this.#nodes.set(node, floors);
    return floors;
  }

  #tell(kind: AnomalyKind, text: string): void {
    this.#anomalies.push({ kind, text });
  }
}

/** The writes that may be in the origin's order, to be taken out as they are found there. */
class AskedWrites {
  readonly #puts = new Map<string, WriteOperation>();
  readonly #taken = new Set<string>();
  /** Of each key. */
  readonly #deletes = new Map<string, number>();

  constructor(operations: ReadonlyArray<Operation>) {
    for (const operation of operations) {
      if (operation.kind === "read" || operation.outcome === "refused") continue;
      if (operation.value !== null) this.#puts.set(operation.value, operation);
      else this.#deletes.set(operation.key, (this.#deletes.get(operation.key) ?? 0) + 1);
    }
  }

  /** When it was asked for, as far as that is known; or what is wrong with it. */
  take({ key, value }: LoggedWrite): number | AnomalyKind {
    if (value === null) {
      const left = (this.#deletes.get(key) ?? 0) - 1;
      this.#deletes.set(key, left);
      return left < 0 ? "phantom-write" : -Infinity;
    }
    if (this.#taken.has(value)) return "applied-twice";
    this.#taken.add(value);
    const put = this.#puts.get(value);
    return put?.key === key ? put.invokedMs : "phantom-write";
  }
}

/** What a node must show of its own writes: of each key, the newest that was acknowledged there. */
class OwnWrites {
  /** How often the node had been started anew. */
  readonly life: number;
  readonly #keys = new Map<string, Floors>();
  readonly #sessions = new Map<string, Floor>();

  constructor(life: number) {
    this.life = life;
  }

  add(write: WriteOperation, reached: Floor): void {
    const floors = this.#keys.get(write.key) ?? new Floors();
    this.#keys.set(write.key, floors);
    floors.add(write.completedMs, reached);
    const own = ownKey(write.session, write.key);
    this.#sessions.set(own, higher(this.#sessions.get(own), reached) ?? reached);
  }

  floor({ session, seen, invokedMs }: ReadOperation): Floor | undefined {
    let highest: Floor | undefined;
    for (const key of seen.keys()) {
      const ofNode = this.#keys.get(key)?.before(invokedMs);
      highest = higher(highest, higher(ofNode, this.#sessions.get(ownKey(session, key))));
    }
    return highest;
  }
}

function ownKey(session: string, key: string): string {
  return `${session} ${key}`;
}

/** How far everything has come that ended before a moment, asked for moments that only grow. */
class Floors {
  /** A heap: the earliest end first. */
  readonly #ends: Array<{ readonly atMs: number; readonly floor: Floor }> = [];
  #highest: Floor | undefined;

  add(atMs: number, floor: Floor): void {
    const ends = this.#ends;
    let place = ends.push({ atMs, floor }) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (this.#atMs(parent) <= this.#atMs(place)) break;
      place = this.#swap(place, parent);
    }
  }

  before(atMs: number): Floor | undefined {
    while (this.#ends.length > 0 && this.#atMs(0) + CERTAIN_MS <= atMs) {
      this.#highest = higher(this.#highest, this.#takeFirst());
    }
    return this.#highest;
  }

  #takeFirst(): Floor | undefined {
    const first = this.#ends[0];
    const last = this.#ends.pop();
    if (last === undefined || this.#ends.length === 0) return first?.floor;
    this.#ends[0] = last;
    for (let place = 0; ;) {
      const [left, right] = [2 * place + 1, 2 * place + 2];
      const child = this.#atMs(right) < this.#atMs(left) ? right : left;
      if (this.#atMs(place) <= this.#atMs(child)) break;
      place = this.#swap(place, child);
    }
    return first?.floor;
  }

  #atMs(place: number): number {
    return this.#ends[place]?.atMs ?? Infinity;
  }

  /** Returns the second place. */
  #swap(one: number, other: number): number {
    const [here, there] = [this.#ends[one], this.#ends[other]];
    if (here !== undefined && there !== undefined) {
      [this.#ends[one], this.#ends[other]] = [there, here];
    }
    return other;
  }
}

function higher(one: Floor | undefined, other: Floor | undefined): Floor | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return other.revision > one.revision ? other : one;
}

function showFloor({ revision, by }: Floor): string {
  return `${show(by)} came to ${revision}`;
}

// A listing shows many keys: the first ones tell which it was.
const SHOWN_MAX = 8;

function showLogged({ revision, key, value }: LoggedWrite): string {
  return `${value} at ${key}, as revision ${revision}`;
}

function show(operation: Operation): string {
  const { node, session, invokedMs, completedMs } = operation;
  const what =
    operation.kind === "write"
      ? `${operation.outcome} write of ${operation.value} at ${operation.key}`
      : `read of ${[...operation.seen].slice(0, SHOWN_MAX).map(showSeen).join(", ")}`;
  return `${what} by ${session} on ${node} from ${invokedMs} to ${completedMs}`;
}

function showSeen([key, what]: readonly [string, Seen]): string {
  return `${key} = ${what === PRESENT ? "present" : what}`;
}
