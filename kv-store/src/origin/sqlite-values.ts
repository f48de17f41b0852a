import type { Database, Statement } from "better-sqlite3";
import type { Clock } from "../clock.ts";
import type { ContentHash, KvOperation } from "../entry.ts";
import type { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { Slots } from "../slots.ts";
import { namedValues } from "./named-values.ts";
import { unclaimedError } from "./origin-errors.ts";

export interface SqliteValuesOptions {
  readonly database: Database;
  readonly clock: Clock;
  /** Runs database calls; fails with `closed` once the origin is. */
  readonly run: <Result>(action: () => Result) => Result;
}

type RemoveContent = (hash: ContentHash) => Promise<void>;

/** Which large values there are. The process is the only one: what is being removed it knows itself. */
export class SqliteValues {
  readonly #options: SqliteValuesOptions;
  /** Those whose content is being removed. */
  readonly #leaving = new Map<ContentHash, Promise<void>>();
  /** Up to where they were looked through. */
  #lookedUpTo = "";
  readonly #claim: Statement<[string, number]>;
  readonly #claimedMs: Statement<[string], number>;
  readonly #some: Statement<[string, number], { hash: string; claimed_ms: number }>;
  readonly #naming: Statement<[string, string], number>;
  readonly #forget: Statement<[string]>;

  constructor(options: SqliteValuesOptions) {
    this.#options = options;
    const { database } = options;
    this.#claim = database.prepare(
      `INSERT INTO large_values (hash, claimed_ms) VALUES (?, ?)
       ON CONFLICT (hash) DO UPDATE SET claimed_ms = excluded.claimed_ms`,
    );
    this.#claimedMs = database
      .prepare<[string], number>("SELECT claimed_ms FROM large_values WHERE hash = ?")
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

  /** Waits for a removal that is under way. */
  async claim(hash: ContentHash): Promise<void> {
    for (;;) {
      const leaving = this.#leaving.get(hash);
      if (leaving === undefined) break;
      await leaving;
    }
    const { run, clock } = this.#options;
    run(() => this.#claim.run(hash, clock.nowMs()));
  }

  /** Why a write of these can't be made, as part of its transaction. */
  refusal(operations: ReadonlyArray<KvOperation>): KvError | undefined {
    const unclaimed = namedValues(operations).find(
      (hash) => this.#leaving.has(hash) || this.#claimedMs.get(hash) === undefined,
    );
    return unclaimed === undefined ? undefined : unclaimedError(unclaimed);
  }

  /** As `KvOrigin.collectValues`. */
  async collect(remove: RemoveContent): Promise<number> {
    const { run, clock } = this.#options;
    const beforeMs = clock.nowMs() - LIMITS.valueClaimMs;
    const rows = run(() => this.#some.all(this.#lookedUpTo, LIMITS.collectValuesMax));
    this.#lookedUpTo = rows.at(-1)?.hash ?? "";
    const idle = rows.filter(({ claimed_ms }) => claimed_ms <= beforeMs);
    const slots = new Slots(LIMITS.collectRemovalsMax);
    const removals = idle.map(({ hash }) =>
      slots.run(() => this.#collectOne(hash, { beforeMs, remove })),
    );
    const collected = await Promise.all(removals);
    return collected.filter(Boolean).length;
  }

  /** Whether it was removed: with its row, and that only once its content is gone. */
  async #collectOne(
    hash: ContentHash,
    { beforeMs, remove }: { readonly beforeMs: number; readonly remove: RemoveContent },
  ): Promise<boolean> {
    const { run } = this.#options;
    if (this.#leaving.has(hash)) return false;
    // It may have been claimed while it waited for its turn.
    const claimedMs = run(() => this.#claimedMs.get(hash));
    if (claimedMs === undefined || claimedMs > beforeMs) return false;
    if (run(() => this.#naming.get(hash, hash) === 1)) return false;
    const removal = remove(hash);
    // From here on it can't be named or claimed: nothing is done between the look and this.
    const settled = removal.then(
      () => {},
      () => {},
    );
    this.#leaving.set(hash, settled);
    try {
      await removal;
      run(() => this.#forget.run(hash));
      return true;
    } finally {
      this.#leaving.delete(hash);
    }
  }
}
