import type { HeldOperation, KvOperation, KvRecord } from "../../entry.ts";
import type { HistoryPoint, Revision, StateDigest } from "../../names.ts";
import { encodeOperation } from "../../record-codec.ts";
import { withoutValue } from "../../replica/partial-entry.ts";
import { EMPTY_STATE, StateSum } from "../../state-digest.ts";
import { ENTRIES } from "./made-entries.ts";

/** A put with its bytes and their digest, which are looked at far more often than made. */
export interface SimulatedEntry {
  readonly put: HeldOperation & { kind: "put" };
  /** Of the write that put it. */
  readonly revision: number;
  readonly bytes: Buffer;
  readonly digest: Buffer;
}
/** What each key holds. */
export type Entries = ReadonlyMap<string, SimulatedEntry>;

/** Entries with what their digest should be: on a disk, the two can come apart. */
export interface State {
  readonly entries: Entries;
  readonly digest: StateDigest;
}

export const NOTHING: State = { entries: new Map(), digest: EMPTY_STATE };

/** The model: one namespace's complete history, and the state as of each of its revisions. */
export class SimulatedHistory {
  readonly records: KvRecord[];
  /** By revision; the first one is the empty state. */
  readonly states: State[];
  /** The last revision of each write of a node: none may be there twice. */
  readonly writes: Map<number, number>;
  /** The log starts after this revision. */
  logStart: number;
  /** Somebody copies the namespace, and the log is kept for it. */
  heldUntilMs = 0;
  /** The namespace was removed: nothing of it may be found any more. */
  isDeleted: boolean;
  /** When each record was committed, and when by the origin's clock, never before that of a record before it. */
  readonly #committedMs: number[];
  readonly #datedMs: number[];
  /** The one in whose place it is. */
  readonly #replaced: SimulatedHistory | undefined;

  /** A history that goes on from the copy of another one, as of a revision of it; from nothing without one. */
  constructor(origin?: SimulatedHistory, revision = 0) {
    this.#replaced = origin;
    this.records = origin?.records.slice(0, revision) ?? [];
    this.states = origin?.states.slice(0, revision + 1) ?? [NOTHING];
    const writes = [...(origin?.writes ?? [])].filter(([, made]) => made <= revision);
    this.writes = new Map(writes);
    this.logStart = Math.min(origin?.logStart ?? 0, revision);
    this.isDeleted = origin?.isDeleted ?? false;
    this.#committedMs = origin === undefined ? [] : origin.#committedMs.slice(0, revision);
    this.#datedMs = origin === undefined ? [] : origin.#datedMs.slice(0, revision);
  }

  get revision(): Revision {
    return this.records.length as Revision; // a count is one
  }

  get point(): HistoryPoint {
    return { revision: this.revision, digest: this.#state.digest };
  }

  /** What the last revision holds. */
  get entries(): Entries {
    return this.#state.entries;
  }

  get #state(): State {
    return this.states.at(-1) ?? NOTHING;
  }

  append(
    operations: ReadonlyArray<KvOperation>,
    { nowMs, clockMs }: { readonly nowMs: number; readonly clockMs: number },
  ): KvRecord[] {
    const datedMs = Math.max(this.#datedMs.at(-1) ?? 0, clockMs);
    return operations.map((operation) => {
      const revision = (this.records.length + 1) as Revision; // a count is one
      const state = applied(this.#state, [operation], [revision]);
      const record = { revision, digest: state.digest, operation };
      this.records.push(record);
      this.#committedMs.push(nowMs);
      this.#datedMs.push(datedMs);
      this.states.push(state);
      return record;
    });
  }

  /**
   * Whether a node holds what there should be as of a revision, as far as it holds values. Without digests, which are
   * what is to be tested.
   */
  isState(revision: number, held: Entries): boolean {
    const model = this.states[revision]?.entries;
    // Most that nodes hold was made with the model.
    if (model === held) return true;
    if (model?.size !== held.size) return false;
    return [...model].every(([key, entry]) => this.#isEntry(entry, held.get(key)));
  }

  #isEntry(model: SimulatedEntry, held: SimulatedEntry | undefined): boolean {
    if (held === undefined || !isSameContent(model, held)) return false;
    return held.revision === model.revision || this.#wasReplaced(held);
  }

  /**
   * Whether a history in whose place this is put the entry. Where both had the same state at the same revision, a node
   * can't tell them apart, and its entries may have the revisions of the other one.
   */
  #wasReplaced(held: SimulatedEntry): boolean {
    const replaced = this.#replaced;
    if (replaced === undefined) return false;
    const entry = replaced.states[held.revision]?.entries.get(held.put.key);
    const isThere = entry?.revision === held.revision && isSameContent(entry, held);
    return isThere || replaced.#wasReplaced(held);
  }

  /** How many records were committed by this moment. */
  revisionAt(timeMs: number): number {
    return countBy(this.#committedMs, timeMs);
  }

  /** The same by the origin's clock. */
  datedBy(clockMs: number): number {
    return countBy(this.#datedMs, clockMs);
  }
}

/** How many of ascending times are at this one, or before it. */
function countBy(timesMs: ReadonlyArray<number>, timeMs: number): number {
  let [low, high] = [0, timesMs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((timesMs[middle] ?? Infinity) <= timeMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The state that operations of these revisions leave. */
export function applied(
  state: State,
  operations: ReadonlyArray<HeldOperation>,
  revisions: ReadonlyArray<number>,
): State {
  let after = state;
  for (const [index, operation] of operations.entries()) {
    after = stepped(after, operation, revisions[index] ?? 0);
  }
  return after;
}

interface Step {
  /** Of the state that it began with. */
  readonly digest: StateDigest;
  /** What was put, or the key of what was deleted. */
  readonly change: object | string;
  readonly revision: number;
  readonly state: State;
}

/**
 * Where the last operation led that was applied to entries: the origin and its nodes go the same way, so that most
 * of it is gone once, and what is the same is the same memory. Entries never change.
 */
const steps = new Map<Entries, Step>();
// More than are on their way between an origin and its nodes. A weak map would cost the garbage collector more.
const STEPS_MAX = 1_000;

function stepped(state: State, operation: HeldOperation, revision: number): State {
  const made = operation.kind === "put" ? ENTRIES.of(operation) : undefined;
  const change = made ?? operation.key;
  const known = steps.get(state.entries);
  const isSame = known?.change === change && known.revision === revision;
  if (isSame && known.digest === state.digest) return known.state;
  const entries = new Map(state.entries);
  const sum = new StateSum(state.digest);
  const replaced = entries.get(operation.key);
  if (replaced !== undefined) sum.toggle(replaced.digest);
  if (made === undefined) entries.delete(operation.key);
  else entries.set(operation.key, { ...made, revision });
  if (made !== undefined) sum.toggle(made.digest);
  const next = { entries, digest: sum.digest };
  if (steps.size > STEPS_MAX) steps.clear();
  steps.set(state.entries, { digest: state.digest, change, revision, state: next });
  return next;
}

/** What the digest of entries is, whatever it should be. */
export function digestOfAll(entries: Entries): StateDigest {
  const sum = new StateSum();
  for (const { digest } of entries.values()) sum.toggle(digest);
  return sum.digest;
}

function isSameContent(model: SimulatedEntry, held: SimulatedEntry): boolean {
  // Nearly always the same memory, because it was made once.
  const should = held.put.value.kind === "absent" ? lightOf(model) : model.bytes;
  return held.bytes === should || held.bytes.equals(should);
}

// What entries of the model are without their values.
const lightForms = new WeakMap<Buffer, Buffer>();

function lightOf({ put, bytes }: SimulatedEntry): Buffer {
  let light = lightForms.get(bytes);
  if (light === undefined) {
    light = encodeOperation(withoutValue(put));
    lightForms.set(bytes, light);
  }
  return light;
}

export function entryOf(put: SimulatedEntry["put"], revision: number): SimulatedEntry {
  return { ...ENTRIES.of(put), revision };
}

/** What a partial node holds of an operation. */
export function lightForm(operation: HeldOperation): HeldOperation {
  if (operation.kind === "delete") return operation;
  const made = ENTRIES.of(operation);
  return (made.light ??= withoutValue(made.put));
}
