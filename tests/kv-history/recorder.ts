import { createHash } from "node:crypto";
import { LIMITS } from "@atoll/kv-store";
import { HOT_KEYS, tokenOf, type Call } from "./calls.ts";
import { PRESENT, type Operation, type Seen, type WriteOperation } from "./history.ts";

/** A line of the worker's answer. */
export type Told = readonly [
  index: number,
  invokedMs: number,
  completedMs: number,
  error: string | null,
  result: ReadonlyArray<string | null> | null,
];

interface Client {
  readonly node: string;
  readonly session: string;
}

/** Turns what clients asked and were told into a history. */
export class Recorder {
  readonly operations: Operation[] = [];
  readonly counts = { reads: 0, failedReads: 0, acknowledged: 0, unknown: 0 };
  /** Tokens of values that travel by hash. */
  readonly #tokenOfHash = new Map<string, string>();
  #waiters: Array<{ readonly count: number; readonly resolve: () => void }> = [];

  /** To be called before the calls are made: what they put may be met from then on. */
  announce(calls: ReadonlyArray<Call>): void {
    for (const call of calls) if (call[0] === "put") this.#remember(call[2]);
  }

  /** Takes the lines of one request, which may have been cut. */
  take(
    client: Client,
    calls: ReadonlyArray<Call>,
    answer: { readonly begunMs: number; readonly told: ReadonlyArray<Told> },
  ): void {
    const lines = new Map(answer.told.map((line) => [line[0], line]));
    for (const [index, call] of calls.entries()) {
      const line = lines.get(index);
      if (line !== undefined) this.#takeTold(client, call, line);
      else this.#takeUntold(client, call, answer.begunMs);
    }
    const { answered } = this;
    for (const { count, resolve } of this.#waiters) if (answered >= count) resolve();
    this.#waiters = this.#waiters.filter(({ count }) => answered < count);
  }

  /** Operations with an answer that tells something: of the others it is only known that they were asked for. */
  get answered(): number {
    return this.counts.reads + this.counts.acknowledged;
  }

  /** Resolves when so many operations are answered. */
  reached(count: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.answered >= count) resolve();
      else this.#waiters.push({ count, resolve });
    });
  }

  /** The token of a value that is known by its hash. */
  tokenOfHash(hash: string): string {
    return this.#tokenOfHash.get(hash) ?? `unknown content ${hash}`;
  }

  #remember(text: string): void {
    if (text.length <= LIMITS.inlineValueBytesMax) return;
    this.#tokenOfHash.set(createHash("sha256").update(text).digest("hex"), tokenOf(text));
  }

  #takeTold(client: Client, call: Call, [, invokedMs, completedMs, error, result]: Told): void {
    const asked = { ...client, invokedMs, completedMs };
    if (call[0] === "put" || call[0] === "delete") {
      const outcome = error === null ? "acknowledged" : outcomeOf(error);
      return this.#addWrite(call, { ...asked, outcome });
    }
    // A read that fails tells nothing.
    if (error !== null || result === null) {
      this.counts.failedReads += 1;
      return;
    }
    this.counts.reads += 1;
    const seen = call[0] === "list" ? seenByList(result) : seenByGet(call[1], result);
    this.operations.push({ kind: "read", ...asked, seen });
  }

  /** A write whose answer never came may have happened; a read tells nothing. */
  #takeUntold(client: Client, call: Call, begunMs: number): void {
    if (call[0] === "get" || call[0] === "list") return;
    const asked = { ...client, invokedMs: begunMs, completedMs: Infinity };
    this.#addWrite(call, { ...asked, outcome: "unknown" });
  }

  #addWrite(
    call: Extract<Call, readonly ["put" | "delete", ...unknown[]]>,
    asked: Omit<WriteOperation, "kind" | "key" | "value">,
  ): void {
    if (asked.outcome === "acknowledged") this.counts.acknowledged += 1;
    if (asked.outcome === "unknown") this.counts.unknown += 1;
    const value = call[0] === "put" ? tokenOf(call[2]) : null;
    this.operations.push({ kind: "write", ...asked, key: call[1], value });
  }
}

/** An error that is not one to repeat means that nothing happened; all others leave it open. */
function outcomeOf(error: string): "refused" | "unknown" {
  return /^KV \w+ failed: 4\d\d /.test(error) ? "refused" : "unknown";
}

function seenByGet(
  keys: ReadonlyArray<string>,
  result: ReadonlyArray<string | null>,
): ReadonlyMap<string, Seen> {
  return new Map(keys.map((key, index) => [key, result[index] ?? null]));
}

function seenByList(names: ReadonlyArray<string | null>): ReadonlyMap<string, Seen> {
  const listed = new Set(names);
  const seen = new Map<string, Seen>();
  for (const key of HOT_KEYS) seen.set(key, listed.has(key) ? PRESENT : null);
  // Whatever else was listed is no key of ours, and will not be explained.
  for (const name of listed) if (name !== null && !seen.has(name)) seen.set(name, PRESENT);
  return seen;
}
