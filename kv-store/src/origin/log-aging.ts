import type { Clock } from "../clock.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId } from "../names.ts";

/** A namespace whose log may be cut. */
interface AgedNamespace {
  readonly id: number;
  readonly namespace: string;
}

export interface LogAgingOptions<Row extends AgedNamespace> {
  /** As `SqliteTables` has it. */
  readonly tables: { saveNamespace(row: Row): void };
  /** As `SqliteLog` has it. */
  readonly history: {
    nextAged(atMs: number, afterId: number): Row | undefined;
    trimAged(row: Row, atMs: number): boolean;
  };
  readonly clock: Pick<Clock, "nowMs" | "monotonicMs">;
  /** What is older leaves the log. */
  readonly ageMs: number;
  /** Whether somebody copies the namespace, and may need all of its log. */
  readonly isHeld: (namespace: NamespaceId) => boolean;
}

/** Cuts logs by their age; a part of `SqliteOrigin`, and of the simulated origin. */
export class LogAging<Row extends AgedNamespace> {
  readonly #options: LogAgingOptions<Row>;
  /** When records were last looked at for their age, by the monotonic clock. */
  #lookedMs = -Infinity;
  /** The number of the namespace that has had its turn. */
  #id = 0;

  constructor(options: LogAgingOptions<Row>) {
    this.#options = options;
  }

  /** Begins to look at all logs, if it is time for that again. */
  begin(): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#lookedMs < LIMITS.logAgeCheckMs) return false;
    this.#lookedMs = nowMs;
    this.#id = 0;
    return true;
  }

  /** Cuts some records, as part of the caller's transaction; false when none is left that is too old. */
  trimSome(): boolean {
    const { tables, history, clock, ageMs, isHeld } = this.#options;
    const beforeMs = clock.nowMs() - ageMs;
    const row = history.nextAged(beforeMs, this.#id);
    if (row === undefined) return false;
    const isTooEarly = isHeld(row.namespace as NamespaceId); // stored as one
    const goesOn = !isTooEarly && history.trimAged(row, beforeMs);
    if (!isTooEarly) tables.saveNamespace(row);
    if (!goesOn) this.#id = row.id;
    return true;
  }
}
