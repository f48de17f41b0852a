import type { Clock } from "../clock.ts";
import type { ContentHash } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { byteaArray } from "./bytea-array.ts";
import type { PostgresConnections, Statement } from "./postgres-connections.ts";

const CLAIM: Statement = {
  name: "claim_value",
  text: `INSERT INTO large_values (hash, claimed_ms) VALUES ($1, $2)
    ON CONFLICT (hash) DO UPDATE SET claimed_ms = excluded.claimed_ms`,
};
const SOME: Statement = {
  name: "some_values",
  text: `SELECT hash, claimed_ms FROM large_values WHERE hash > $1 ORDER BY hash
    LIMIT ${LIMITS.collectValuesMax}`,
};
// Those that a writer is about to name, or another control plane collects, are left for another time.
const LOCK: Statement = {
  name: "lock_values",
  text: `SELECT hash FROM large_values WHERE hash = ANY($1::bytea[]) AND claimed_ms <= $2
    ORDER BY hash FOR UPDATE SKIP LOCKED`,
};
// Behind the lock, in a statement of its own: it sees what was committed before the lock was had.
const UNNAMED: Statement = {
  name: "unnamed_values",
  text: `SELECT hash FROM unnest($1::bytea[]) AS wanted (hash)
    WHERE NOT EXISTS (SELECT 1 FROM entries WHERE blob_hash = wanted.hash)
      AND NOT EXISTS (SELECT 1 FROM log WHERE replaced_hash = wanted.hash)`,
};
const FORGET: Statement = {
  name: "forget_values",
  text: "DELETE FROM large_values WHERE hash = ANY($1::bytea[])",
};

interface HashRow {
  readonly hash: Buffer;
}

/**
 * Which large values there are. A value's row is locked by whoever commits a write that names it, and by
 * whoever removes its content: so the two never meet, in whatever processes they are.
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

  /** Waits for a removal that is under way. */
  async claim(hash: ContentHash): Promise<void> {
    await this.#connections.run(CLAIM, [Buffer.from(hash, "hex"), this.#clock.nowMs()]);
  }

  async collect(remove: (hash: ContentHash) => Promise<void>): Promise<number> {
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

  /** In one transaction: if it fails the rows stay, and what was removed already is removed again. */
  #collectSome(
    hashes: ReadonlyArray<Buffer>,
    parts: {
      readonly beforeMs: number;
      readonly remove: (hash: ContentHash) => Promise<void>;
    },
  ): Promise<number> {
    return this.#connections.transaction(async (run) => {
      const locked = await run<HashRow>(LOCK, [byteaArray(hashes), parts.beforeMs]);
      const unnamed = await run<HashRow>(UNNAMED, [byteaArray(locked.map(({ hash }) => hash))]);
      await Promise.all(unnamed.map(({ hash }) => parts.remove(hash.toString("hex"))));
      const values = [byteaArray(unnamed.map(({ hash }) => hash))];
      const changes = unnamed.length === 0 ? [] : [{ statement: FORGET, values }];
      return { changes, result: unnamed.length };
    });
  }
}
