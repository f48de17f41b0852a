/**
 * What a key was seen to hold: a value, by a token that no two writes share; `null` for nothing; and
 * `PRESENT` where only its name was seen, as in a listing.
 */
export type Seen = string | null | typeof PRESENT;
export const PRESENT = Symbol("present");

/** One write as the origin ordered it. `value` is null for a delete. */
export interface LoggedWrite {
  readonly revision: number;
  readonly key: string;
  readonly value: string | null;
}

/** When, where and by whom something was asked. Times are of one clock, cut to whole milliseconds. */
interface Asked {
  readonly node: string;
  /** A client that asks one thing after another, of one node. */
  readonly session: string;
  readonly invokedMs: number;
  /** Infinity for what was never answered. */
  readonly completedMs: number;
}

export interface WriteOperation extends Asked {
  readonly kind: "write";
  readonly key: string;
  readonly value: string | null;
  /** `unknown` after a retryable error or none: it may have happened, or happen yet. `refused`: it must not. */
  readonly outcome: "acknowledged" | "refused" | "unknown";
}

export interface ReadOperation extends Asked {
  readonly kind: "read";
  /** What one answer told, which is of one moment: a read of several keys or a listing has many. */
  readonly seen: ReadonlyMap<string, Seen>;
}

export type Operation = WriteOperation | ReadOperation;

export interface History {
  /** Everything that the origin ordered, from its first revision on. */
  readonly log: ReadonlyArray<LoggedWrite>;
  /** Those of one session in the order in which it asked. */
  readonly operations: ReadonlyArray<Operation>;
  /** When each node was started anew, ascending: of what it wrote it remembers nothing from then on. */
  readonly restarts: ReadonlyMap<string, ReadonlyArray<number>>;
  /** What each node held at the end, when nothing was written any more. */
  readonly finals: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** The ways in which a history breaks what the store promises. */
export const ANOMALIES = {
  "revision-gap": "the origin's order has a gap, or a revision twice",
  "lost-write": "what was acknowledged is not in the origin's order",
  "applied-twice": "one write is in the origin's order twice",
  "phantom-write": "the origin ordered what nobody wrote",
  "refused-write": "what was refused for good happened all the same",
  "write-order": "a write was ordered before one that was acknowledged before it began",
  "phantom-read": "a read showed what the key never held",
  "future-read": "a read showed what was written only later",
  "torn-read": "one answer showed keys as they never were together",
  "stale-own-write": "a node did not show a key as it was written there and acknowledged, or newer",
  "backwards-read": "a node showed a key older than it had shown that key",
  "prefix-break":
    "a node showed a key older than another key that it had shown: no prefix of the order has both",
  "diverged-node": "a node does not hold what the origin's order leads to",
} as const;
export type AnomalyKind = keyof typeof ANOMALIES;

export interface Anomaly {
  readonly kind: AnomalyKind;
  /** What exactly, with everything that is needed to look for it. */
  readonly text: string;
}
