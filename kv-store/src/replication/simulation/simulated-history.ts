import type { HeldOperation, KvOperation, KvRecord } from "../../entry.ts";
import type { HistoryPoint, Revision, StateDigest } from "../../names.ts";
import { encodeOperation } from "../../record-codec.ts";
import { withoutValue } from "../../replica/partial-entry.ts";
import { EMPTY_STATE, entryDigest, StateSum } from "../../state-digest.ts";

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
  /** When each record was committed. */
  readonly #committedMs: number[];

  /** A history that goes on from the copy of another one, as of a revision of it; from nothing without one. */
  constructor(origin?: SimulatedHistory, revision = 0) {
    this.records = origin?.records.slice(0, revision) ?? [];
    this.states = origin?.states.slice(0, revision + 1) ?? [NOTHING];
    const writes = [...(origin?.writes ?? [])].filter(([, made]) => made <= revision);
    this.writes = new Map(writes);
    this.logStart = Math.min(origin?.logStart ?? 0, revision);
    this.isDeleted = origin?.isDeleted ?? false;
    this.#committedMs = origin === undefined ? [] : origin.#committedMs.slice(0, revision);
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

  append(operations: ReadonlyArray<KvOperation>, nowMs: number): KvRecord[] {
    return operations.map((operation) => {
      const revision = (this.records.length + 1) as Revision; // a count is one
      const state = applied(this.#state, [operation], [revision]);
      const record = { revision, digest: state.digest, operation };
      this.records.push(record);
      this.#committedMs.push(nowMs);
      this.states.push(state);
      return record;
    });
  }

  /** How many records were committed by this moment. */
  revisionAt(timeMs: number): number {
    let [low, high] = [0, this.#committedMs.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#committedMs[middle] ?? Infinity) <= timeMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The state that operations of these revisions leave. */
export function applied(
  state: State,
  operations: ReadonlyArray<HeldOperation>,
  revisions: ReadonlyArray<number>,
): State {
  const entries = new Map(state.entries);
  const sum = new StateSum(state.digest);
  for (const [index, operation] of operations.entries()) {
    const replaced = entries.get(operation.key);
    if (replaced !== undefined) sum.toggle(replaced.digest);
    if (operation.kind === "put") {
      const entry = entryOf(operation, revisions[index] ?? 0);
      sum.toggle(entry.digest);
      entries.set(operation.key, entry);
    } else {
      entries.delete(operation.key);
    }
  }
  return { entries, digest: sum.digest };
}

/** What the digest of entries is, whatever it should be. */
export function digestOfAll(entries: Entries): StateDigest {
  const sum = new StateSum();
  for (const { digest } of entries.values()) sum.toggle(digest);
  return sum.digest;
}

/**
 * Whether a node holds what there should be, as far as it holds values. Without digests, which are what is to
 * be tested.
 */
export function sameEntries(model: Entries, held: Entries): boolean {
  if (model.size !== held.size) return false;
  for (const [key, entry] of model) if (!isSameEntry(entry, held.get(key))) return false;
  return true;
}

// Entries never change, and are compared far more often than made. What entries of the model are without their
// values, and of each entry that was held the one of the model that it was found equal to.
const lightForms = new WeakMap<SimulatedEntry, Buffer>();
const equals = new WeakMap<SimulatedEntry, SimulatedEntry>();

function isSameEntry(model: SimulatedEntry, held: SimulatedEntry | undefined): boolean {
  if (held?.revision !== model.revision) return false;
  if (equals.get(held) === model) return true;
  const isSame = held.bytes.equals(held.put.value.kind === "absent" ? lightOf(model) : model.bytes);
  if (isSame) equals.set(held, model);
  return isSame;
}

function lightOf(model: SimulatedEntry): Buffer {
  let light = lightForms.get(model);
  if (light === undefined) {
    light = encodeOperation(withoutValue(model.put));
    lightForms.set(model, light);
  }
  return light;
}

export function entryOf(put: SimulatedEntry["put"], revision: number): SimulatedEntry {
  return madeOnce(put, `entry ${revision}`, () => made(put, revision));
}

/** What a partial node holds of an operation. */
export function lightForm(operation: HeldOperation): HeldOperation {
  if (operation.kind === "delete") return operation;
  return madeOnce(operation, "light", () => withoutValue(operation));
}

/**
 * What was made of values within one piece of memory, by where they are in it and what else they have: nodes get
 * the same messages, and the memory of a message never changes.
 */
const madeWithin = new WeakMap<ArrayBufferLike, Map<string, unknown>>();

function madeOnce<Made>(put: SimulatedEntry["put"], what: string, make: () => Made): Made {
  const { key, value, metadata = "", expiresAt = 0 } = put;
  if (value.kind !== "inline") return make();
  const { buffer, byteOffset, length } = value.bytes;
  const known = madeWithin.get(buffer) ?? new Map<string, unknown>();
  madeWithin.set(buffer, known);
  const place = `${byteOffset} ${length} ${expiresAt} ${what} ${key} ${metadata}`;
  if (!known.has(place)) known.set(place, make());
  return known.get(place) as Made; // what is made once of a name is always made of it
}

function made(put: SimulatedEntry["put"], revision: number): SimulatedEntry {
  const bytes = encodeOperation(put);
  const { value } = put;
  const digest = value.kind === "absent" ? Buffer.from(value.digest) : entryDigest(bytes);
  return { put, revision, bytes, digest };
}
