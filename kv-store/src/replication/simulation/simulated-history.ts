import type { KvOperation, KvRecord } from "../../entry.ts";
import { Revision, type HistoryPoint, type StateDigest } from "../../names.ts";
import { encodeOperation } from "../../record-codec.ts";
import { EMPTY_STATE, entryDigest, StateSum } from "../../state-digest.ts";

/** A put with its bytes and their digest, which are looked at far more often than made. */
export interface SimulatedEntry {
  readonly put: KvOperation & { kind: "put" };
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
  /** When each record was committed. */
  readonly committedMs: number[];
  /** By revision; the first one is the empty state. */
  readonly states: State[];
  /** The log starts after this revision. */
  logStart = 0;

  /** A history that goes on from the copy of another one, as of a revision of it; from nothing without one. */
  constructor(origin?: SimulatedHistory, revision = 0) {
    this.records = origin?.records.slice(0, revision) ?? [];
    this.committedMs = origin?.committedMs.slice(0, revision) ?? [];
    this.states = origin?.states.slice(0, revision + 1) ?? [NOTHING];
    this.logStart = Math.min(origin?.logStart ?? 0, revision);
  }

  get revision(): Revision {
    return Revision.parse(this.records.length);
  }

  get point(): HistoryPoint {
    return { revision: this.revision, digest: this.#state.digest };
  }

  /** What there is now. */
  get entries(): Entries {
    return this.#state.entries;
  }

  get #state(): State {
    return this.states.at(-1) ?? NOTHING;
  }

  stateAt(revision: number): State | undefined {
    return this.states[revision];
  }

  append(operation: KvOperation, nowMs: number): KvRecord {
    const state = applied(this.#state, operation);
    const revision = Revision.parse(this.records.length + 1);
    const record = { revision, digest: state.digest, operation };
    this.records.push(record);
    this.committedMs.push(nowMs);
    this.states.push(state);
    return record;
  }

  /** How many records were committed by this moment. */
  revisionAt(timeMs: number): number {
    return this.committedMs.findLastIndex((committedMs) => committedMs <= timeMs) + 1;
  }
}

/** The state that an operation leaves. */
export function applied(state: State, operation: KvOperation): State {
  const entries = new Map(state.entries);
  const sum = new StateSum(state.digest);
  const replaced = entries.get(operation.key);
  if (replaced !== undefined) sum.toggle(replaced.digest);
  if (operation.kind === "put") {
    const entry = entryOf(operation);
    sum.toggle(entry.digest);
    entries.set(operation.key, entry);
  } else {
    entries.delete(operation.key);
  }
  return { entries, digest: sum.digest };
}

/** What the digest of entries is, whatever it should be. */
export function digestOfAll(entries: Entries): StateDigest {
  const sum = new StateSum();
  for (const { digest } of entries.values()) sum.toggle(digest);
  return sum.digest;
}

/** Without digests, which are what is to be tested. */
export function sameEntries(left: Entries, right: Entries): boolean {
  if (left.size !== right.size) return false;
  return [...left].every(([key, { bytes }]) => right.get(key)?.bytes.equals(bytes) === true);
}

export function entryOf(put: SimulatedEntry["put"]): SimulatedEntry {
  const bytes = encodeOperation(put);
  return { put, bytes, digest: entryDigest(bytes) };
}
