import type { Clock } from "@atoll/kv-store";

/** How much each key may do: `burst` at once, and as much again as `perSecond` gives back. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** How much a key took. */
export interface Use {
  readonly key: string;
  readonly count: number;
}

interface Bucket {
  /** Below 0 when more was given elsewhere than there was. */
  left: number;
  /** When `left` was true, on the monotonic clock. */
  atMs: number;
  /** What was taken here since uses were last drained. */
  taken: number;
}

/**
 * Counts what each key does, in this process. It remembers the keys that were used last, up to `keysMax`;
 * one that it forgot starts with a full burst.
 */
export class RateLimiter {
  readonly rate: Rate;
  readonly #clock: Clock;
  readonly #keysMax: number;
  /** The least recently used first. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(parts: { readonly clock: Clock; readonly rate: Rate; readonly keysMax: number }) {
    this.rate = parts.rate;
    this.#clock = parts.clock;
    this.#keysMax = parts.keysMax;
  }

  /** Takes one. 0 when the key had one left, else the whole seconds after which it has. */
  take(key: string): number {
    const bucket = this.#use(key);
    const { left } = bucket;
    if (left < 1) return Math.max(1, Math.ceil((1 - left) / this.rate.perSecond));
    bucket.left -= 1;
    bucket.taken += 1;
    return 0;
  }

  /**
   * Takes what the key took elsewhere, whether it is there or not: down to the debt of a burst, so that nobody
   * waits longer than two bursts take to come back.
   */
  spend({ key, count }: Use): void {
    const bucket = this.#use(key);
    bucket.left = Math.max(-this.rate.burst, bucket.left - count);
  }

  /** What was taken here since the last time, by keys that took at least `countMin`. */
  drain(countMin: number): ReadonlyArray<Use> {
    const uses: Use[] = [];
    for (const [key, bucket] of this.#buckets) {
      if (bucket.taken >= countMin) uses.push({ key, count: bucket.taken });
      bucket.taken = 0;
    }
    return uses;
  }

  /** The key's bucket as it is now, which makes it the one that was used last. */
  #use(key: string): Bucket {
    const { perSecond, burst } = this.rate;
    const nowMs = this.#clock.monotonicMs();
    const bucket = this.#buckets.get(key) ?? { left: burst, atMs: nowMs, taken: 0 };
    bucket.left = Math.min(burst, bucket.left + ((nowMs - bucket.atMs) / 1_000) * perSecond);
    bucket.atMs = nowMs;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#keysMax) this.#forgetOldest();
    return bucket;
  }

  #forgetOldest(): void {
    const [oldest] = this.#buckets.keys();
    if (oldest !== undefined) this.#buckets.delete(oldest);
  }
}
