import { z } from "zod";
import type { KvOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

const Bound = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).nullable().default(null);

/** What an account may have and do, in all its namespaces together; null for as much as it likes. */
export const KvQuota = z.strictObject({
  keysMax: Bound,
  /** Of keys, values and metadata. */
  bytesMax: Bound,
  /** Puts and deletes within one second of the origin's clock. */
  writesPerSecondMax: Bound,
  /** The same within a day, in UTC. */
  writesPerDayMax: Bound,
});
export type KvQuota = z.infer<typeof KvQuota>;

export const NO_QUOTA: KvQuota = KvQuota.parse({});

export function isUnbounded(quota: KvQuota): boolean {
  return Object.values(quota).every((bound) => bound === null);
}

export function isSameQuota(left: KvQuota, right: KvQuota): boolean {
  return (
    left.keysMax === right.keysMax &&
    left.bytesMax === right.bytesMax &&
    left.writesPerSecondMax === right.writesPerSecondMax &&
    left.writesPerDayMax === right.writesPerDayMax
  );
}

/** Keys, and the bytes of keys, values and metadata. What has expired counts until it is swept. */
export interface KvSize {
  readonly keys: number;
  readonly bytes: number;
}

/** What was counted of an account's writes: within the latest second and day in which there were any. */
export interface WriteCounts {
  readonly second: number;
  readonly second_writes: number;
  readonly day: number;
  readonly day_writes: number;
}

export const NO_WRITES: WriteCounts = { second: 0, second_writes: 0, day: 0, day_writes: 0 };

/** What a database has of an account. */
export interface QuotaRow extends WriteCounts {
  readonly account: string;
  readonly keys_max: number | null;
  readonly bytes_max: number | null;
  readonly writes_per_second_max: number | null;
  readonly writes_per_day_max: number | null;
}

export function quotaOf(row: QuotaRow): KvQuota {
  return {
    keysMax: row.keys_max,
    bytesMax: row.bytes_max,
    writesPerSecondMax: row.writes_per_second_max,
    writesPerDayMax: row.writes_per_day_max,
  };
}

/** What an operation leaves at its key, in bytes. */
export function sizeOf(operation: KvOperation & { readonly kind: "put" }): number {
  const { key, value, metadata = "" } = operation;
  const valueBytes = value.kind === "inline" ? value.bytes.length : value.size;
  return Buffer.byteLength(key, "utf8") + Buffer.byteLength(metadata, "utf8") + valueBytes;
}

/** By how much the operations let a namespace grow. `bytesAt` says what a key has now; `undefined` for no key. */
export function growthOf(
  operations: ReadonlyArray<KvOperation>,
  bytesAt: (key: string) => number | undefined,
): KvSize {
  const after = new Map<string, number | undefined>();
  let [keys, bytes] = [0, 0];
  for (const operation of operations) {
    const { key } = operation;
    const before = after.has(key) ? after.get(key) : bytesAt(key);
    const now = operation.kind === "put" ? sizeOf(operation) : undefined;
    keys += Number(now !== undefined) - Number(before !== undefined);
    bytes += (now ?? 0) - (before ?? 0);
    after.set(key, now);
  }
  return { keys, bytes };
}

/** A write, as an account is charged for it. */
export interface ChargedWrite extends KvSize {
  readonly writes: number;
  /** An operator's, which no rate holds up. */
  readonly isUnmetered: boolean;
}

/**
 * An account's quota during one transaction, which has locked its row: charges write after write, and refuses
 * those that would be too much. What the account has is the sum of what its namespaces have, read under
 * that lock, so there is no count of it that could drift.
 */
export class AccountBudget {
  readonly account: string;
  readonly #quota: KvQuota;
  #size: KvSize;
  #counts: WriteCounts;

  constructor(
    row: { readonly account: string; readonly quota: KvQuota; readonly counts: WriteCounts },
    has: { readonly size: KvSize; readonly nowMs: number },
  ) {
    this.account = row.account;
    this.#quota = row.quota;
    this.#size = has.size;
    this.#counts = countsAt(row.counts, has.nowMs);
  }

  /** To be stored with the transaction. */
  get counts(): WriteCounts {
    return this.#counts;
  }

  /**
   * Charges a write. Returns an error instead, with the code `storage_exceeded`, `daily_writes_exceeded` or
   * `rate_exceeded`, when it would be too much; then nothing is charged.
   */
  charge({ keys, bytes, writes, isUnmetered }: ChargedWrite): KvError | undefined {
    const size = { keys: this.#size.keys + keys, bytes: this.#size.bytes + bytes };
    const counts = {
      ...this.#counts,
      second_writes: this.#counts.second_writes + writes,
      day_writes: this.#counts.day_writes + writes,
    };
    const { keysMax, bytesMax, writesPerDayMax, writesPerSecondMax } = this.#quota;
    // What makes it no larger is never refused: an account over its quota can come back under it.
    if (keys > 0 && isOver(size.keys, keysMax)) {
      return storageExceeded(`${size.keys} keys`, `${keysMax}`);
    }
    if (bytes > 0 && isOver(size.bytes, bytesMax)) {
      return storageExceeded(`${size.bytes} bytes`, `${bytesMax}`);
    }
    if (!isUnmetered && isOver(counts.day_writes, writesPerDayMax)) {
      const text = `KV put() limit exceeded for the day. The account may make ${writesPerDayMax} writes until midnight UTC.`;
      return new KvError("daily_writes_exceeded", text);
    }
    if (!isUnmetered && isOver(counts.second_writes, writesPerSecondMax)) {
      const text = `Too Many Requests: the account may make ${writesPerSecondMax} writes within a second.`;
      return new KvError("rate_exceeded", text);
    }
    this.#size = size;
    if (!isUnmetered) this.#counts = counts;
    return undefined;
  }
}

/** What of the counts is of the second and the day that it is now. */
export function countsAt(counts: WriteCounts, nowMs: number): WriteCounts {
  const second = Math.floor(nowMs / 1_000);
  const day = Math.floor(second / SECONDS_PER_DAY);
  const skew = LIMITS.rateClockSkewSecondsMax;
  return {
    ...(isCurrent(counts.second, { now: second, skew })
      ? { second: counts.second, second_writes: counts.second_writes }
      : { second, second_writes: 0 }),
    ...(isCurrent(counts.day, { now: day, skew: 1 })
      ? { day: counts.day, day_writes: counts.day_writes }
      : { day, day_writes: 0 }),
  };
}

const SECONDS_PER_DAY = 24 * 60 * 60;

/** The clock of another control plane may be a little ahead, and its second is then the one that counts. */
function isCurrent(
  counted: number,
  { now, skew }: { readonly now: number; readonly skew: number },
): boolean {
  return counted >= now && counted <= now + skew;
}

function isOver(amount: number, max: number | null): boolean {
  return max !== null && amount > max;
}

function storageExceeded(what: string, max: string): KvError {
  const text = `The account's KV namespaces would have ${what}, over its limit of ${max}.`;
  return new KvError("storage_exceeded", text);
}
