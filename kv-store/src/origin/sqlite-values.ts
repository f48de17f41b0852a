import type { Database, Statement } from "better-sqlite3";
import type { ContentHash } from "../entry.ts";
import { LIMITS } from "../limits.ts";

/** The statements about large values, prepared once. */
export class SqliteValues {
  readonly #claim: Statement<[string, number]>;
  readonly #claimed: Statement<[string], number>;
  readonly #some: Statement<[string, number], { hash: string; claimed_ms: number }>;
  readonly #naming: Statement<[string, string], number>;
  readonly #forget: Statement<[string]>;

  constructor(database: Database) {
    this.#claim = database.prepare(
      `INSERT INTO large_values (hash, claimed_ms) VALUES (?, ?)
       ON CONFLICT (hash) DO UPDATE SET claimed_ms = excluded.claimed_ms`,
    );
    this.#claimed = database
      .prepare<[string], number>("SELECT 1 FROM large_values WHERE hash = ?")
      .pluck();
    this.#some = database.prepare(
      "SELECT hash, claimed_ms FROM large_values WHERE hash > ? ORDER BY hash LIMIT ?",
    );
    this.#naming = database
      .prepare<[string, string], number>(
        `SELECT EXISTS (SELECT 1 FROM entries WHERE blob_hash = ?)
         OR EXISTS (SELECT 1 FROM log WHERE replaced_hash = ?)`,
      )
      .pluck();
    this.#forget = database.prepare("DELETE FROM large_values WHERE hash = ?");
  }

  claim(hash: ContentHash, nowMs: number): void {
    this.#claim.run(hash, nowMs);
  }

  isClaimed(hash: ContentHash): boolean {
    return this.#claimed.get(hash) !== undefined;
  }

  /** Whether an entry has it, or a node at some revision of the log may. */
  isNamed(hash: ContentHash): boolean {
    return this.#naming.get(hash, hash) === 1;
  }

  forget(hash: ContentHash): void {
    this.#forget.run(hash);
  }

  /** Some that come after a hash, in order, with when they were claimed. */
  behind(hash: string): ReadonlyArray<{ readonly hash: ContentHash; readonly claimed_ms: number }> {
    return this.#some.all(hash, LIMITS.collectValuesMax);
  }
}
