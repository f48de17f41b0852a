import { setTimeout as wait } from "node:timers/promises";
import type { Clock } from "../clock.ts";
import type { ContentHash } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { allOver } from "../several-at-once.ts";
import { byteaArray } from "./bytea-array.ts";
import type { PostgresConnections, Statement } from "./postgres-connections.ts";

// None that is being removed, unless its remover has died long ago.
const CLAIM: Statement = {
  name: "claim_value",
  text: `INSERT INTO large_values (hash, claimed_ms) VALUES ($1, $2)
    ON CONFLICT (hash) DO UPDATE SET claimed_ms = excluded.claimed_ms, leaving_ms = NULL
      WHERE coalesce(large_values.leaving_ms, 0) <= $3
    RETURNING hash`,
};
const SOME: Statement = {
  name: "some_values",
  text: `SELECT hash, claimed_ms FROM large_values WHERE hash > $1 ORDER BY hash
    LIMIT ${LIMITS.collectValuesMax}`,
};
// Those that a writer is about to name, or another control plane collects, are left for another time.
const LOCK: Statement = {
  name: "lock_values",
  text: `SELECT hash FROM large_values
    WHERE hash = ANY($1::bytea[]) AND claimed_ms <= $2 AND coalesce(leaving_ms, 0) <= $3
    ORDER BY hash FOR UPDATE SKIP LOCKED`,
};
// Behind the lock, in a statement of its own: it sees what was committed before the lock was had.
const UNNAMED: Statement = {
  name: "unnamed_values",
  text: `SELECT hash FROM unnest($1::bytea[]) AS wanted (hash)
    WHERE NOT EXISTS (SELECT 1 FROM entries WHERE blob_hash = wanted.hash)
      AND NOT EXISTS (SELECT 1 FROM log WHERE replaced_hash = wanted.hash)`,
};
const LEAVE: Statement = {
  name: "leave_values",
  text: "UPDATE large_values SET leaving_ms = $2 WHERE hash = ANY($1::bytea[])",
};
// Not what somebody else has taken for left behind, and removes as well.
const FORGET: Statement = {
  name: "forget_values",
  text: "DELETE FROM large_values WHERE hash = ANY($1::bytea[]) AND leaving_ms = $2",
};
const STAY: Statement = {
  name: "keep_values",
  text: "UPDATE large_values SET leaving_ms = NULL WHERE hash = ANY($1::bytea[]) AND leaving_ms = $2",
};

interface HashRow {
  readonly hash: Buffer;
}

interface Collection {
  /** What was claimed later stays. */
  readonly beforeMs: number;
  readonly remove: (hash: ContentHash) => Promise<void>;
}

/**
 * Which large values there are. A value's row is locked by whoever commits a write that names it, and by whoever
 * marks it as leaving: so of the two one sees the other, in whatever processes they are. Then its content is
 * removed, under the mark and not under the lock, which goes with a connection while the removal goes on.
 */
export class PostgresValues {
  readonly #connections: PostgresConnections;
  readonly #clock: Clock;
  /** Up to where they were looked through. */
  #lookedUpTo: Buffer = Buffer.alloc(0);

  constructor(connections: PostgresConnections, clock: Clock) {
    this.#connections = connections;
    this.#clock = clock;
  }

  /** Waits for a removal that is under way. Fails with `busy` when it takes long. */
  async claim(hash: ContentHash): Promise<void> {
    const looksMax = LIMITS.originLockMs / LIMITS.valueClaimLookMs;
    for (let look = 0; look < looksMax; look += 1) {
      const nowMs = this.#clock.nowMs();
      const values = [Buffer.from(hash, "hex"), nowMs, nowMs - LIMITS.valueRemovalMs];
      const claimed = await this.#connections.run(CLAIM, values);
      if (claimed.length > 0) return;
      await wait(LIMITS.valueClaimLookMs);
    }
    const text = `the content ${hash} is being removed, which takes long: try again in a minute`;
    throw new KvError("busy", text);
  }

  async collect(remove: Collection["remove"]): Promise<number> {
    const beforeMs = this.#clock.nowMs() - LIMITS.valueClaimMs;
    const rows = await this.#connections.run<HashRow & { claimed_ms: number }>(SOME, [
      this.#lookedUpTo,
    ]);
    this.#lookedUpTo = rows.at(-1)?.hash ?? Buffer.alloc(0);
    const idle = rows.flatMap(({ hash, claimed_ms }) => (claimed_ms <= beforeMs ? hash : []));
    let count = 0;
    for (let start = 0; start < idle.length; start += LIMITS.collectRemovalsMax) {
      const some = idle.slice(start, start + LIMITS.collectRemovalsMax);
      count += await this.#collectSome(some, { beforeMs, remove });
    }
    return count;
  }

  /** Marked first: while they leave nobody claims or names them, whatever becomes of this process. */
  async #collectSome(hashes: ReadonlyArray<Buffer>, parts: Collection): Promise<number> {
    const leavingMs = this.#clock.nowMs();
    const unnamed = await this.#markUnnamed(hashes, { ...parts, leavingMs });
    if (unnamed.length === 0) return 0;
    const removals = unnamed.map((hash) => parts.remove(hash.toString("hex")));
    const outcomes = await Promise.allSettled(removals);
    const isGone = (_: Buffer, index: number): boolean => outcomes[index]?.status === "fulfilled";
    const gone = unnamed.filter(isGone);
    const left = unnamed.filter((hash) => !gone.includes(hash));
    if (gone.length > 0) await this.#connections.run(FORGET, [byteaArray(gone), leavingMs]);
    if (left.length > 0) await this.#connections.run(STAY, [byteaArray(left), leavingMs]);
    await allOver(removals);
    return gone.length;
  }

  /** Resolves with those that nobody can claim or name from now on. */
  #markUnnamed(
    hashes: ReadonlyArray<Buffer>,
    { beforeMs, leavingMs }: { readonly beforeMs: number; readonly leavingMs: number },
  ): Promise<ReadonlyArray<Buffer>> {
    return this.#connections.transaction(async (run) => {
      const values = [byteaArray(hashes), beforeMs, leavingMs - LIMITS.valueRemovalMs];
      const locked = await run<HashRow>(LOCK, values);
      const rows = await run<HashRow>(UNNAMED, [byteaArray(locked.map(({ hash }) => hash))]);
      const unnamed = rows.map(({ hash }) => hash);
      const leave = { statement: LEAVE, values: [byteaArray(unnamed), leavingMs] };
      return { changes: unnamed.length === 0 ? [] : [leave], result: unnamed };
    });
  }
}
