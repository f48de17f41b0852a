import type { KvOperation, KvRecord } from "../../entry.ts";
import { Revision } from "../../names.ts";

/** Keys and what they hold, in one comparable form. */
export type State = ReadonlyMap<string, string>;

/** The model: one namespace's complete history, and the state as of each of its revisions. */
export class SimulatedHistory {
  readonly records: KvRecord[] = [];
  /** When each record was committed. */
  readonly committedMs: number[] = [];
  /** By revision; the first one is the empty state. */
  readonly states: State[] = [new Map()];
  /** The log starts after this revision. */
  logStart = 0;

  get revision(): Revision {
    return Revision.parse(this.records.length);
  }

  append(operation: KvOperation, nowMs: number): KvRecord {
    const record = { revision: Revision.parse(this.records.length + 1), operation };
    this.records.push(record);
    this.committedMs.push(nowMs);
    this.states.push(applied(this.states.at(-1) ?? new Map(), operation));
    return record;
  }

  /** How many records were committed by this moment. */
  revisionAt(timeMs: number): number {
    return this.committedMs.findLastIndex((committedMs) => committedMs <= timeMs) + 1;
  }
}

/** The state that an operation leaves. */
export function applied(state: State, operation: KvOperation): State {
  const next = new Map(state);
  if (operation.kind === "delete") next.delete(operation.key);
  else next.set(operation.key, valueText(operation));
  return next;
}

export function sameState(left: State, right: State): boolean {
  return left.size === right.size && [...left].every(([key, value]) => right.get(key) === value);
}

function valueText({ value }: KvOperation & { kind: "put" }): string {
  return value.kind === "inline" ? Buffer.from(value.bytes).toString("hex") : value.hash;
}
