import { crc32 } from "node:zlib";
import type { Key, KvEntry, KvOperation, KvRecord } from "../../entry.ts";
import { Revision } from "../../names.ts";

/** Keys and what they hold, in one comparable form. */
export type State = ReadonlyMap<string, string>;

/** The model: one namespace's complete history, and the state as of each of its revisions. */
export class SimulatedHistory {
  readonly records: KvRecord[] = [];
  /** What the last revision holds. */
  readonly entries = new Map<Key, KvEntry>();
  /** By revision; the first one is the empty state. */
  readonly states: State[] = [new Map()];
  /** The last revision of each write of a node: none may be there twice. */
  readonly writes = new Map<number, number>();
  /** The log starts after this revision. */
  logStart = 0;
  /** Somebody copies the namespace, and the log is kept for it. */
  heldUntilMs = 0;
  /** The namespace was removed: nothing of it may be found any more. */
  isDeleted = false;
  /** When each record was committed. */
  readonly #committedMs: number[] = [];

  get revision(): Revision {
    return Revision.parse(this.records.length);
  }

  append(operations: ReadonlyArray<KvOperation>, nowMs: number): KvRecord[] {
    const added = operations.map((operation, index) => ({
      revision: Revision.parse(this.records.length + 1 + index),
      operation,
    }));
    for (const record of added) {
      this.records.push(record);
      this.#committedMs.push(nowMs);
      this.states.push(applied(this.states.at(-1) ?? new Map(), [record.operation]));
      const { operation } = record;
      if (operation.kind === "delete") this.entries.delete(operation.key);
      else this.entries.set(operation.key, { key: operation.key, value: operation.value });
    }
    return added;
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

/** The state that operations leave. */
export function applied(state: State, operations: ReadonlyArray<KvOperation>): State {
  const next = new Map(state);
  for (const operation of operations) {
    if (operation.kind === "delete") next.delete(operation.key);
    else next.set(operation.key, valueText(operation));
  }
  return next;
}

export function sameState(left: State, right: State): boolean {
  if (left.size !== right.size) return false;
  for (const [key, value] of left) if (right.get(key) !== value) return false;
  return true;
}

function valueText({ value }: KvOperation & { kind: "put" }): string {
  return value.kind === "inline" ? `${value.bytes.length}:${crc32(value.bytes)}` : value.hash;
}
