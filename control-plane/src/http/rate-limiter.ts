import type { Clock } from "@atoll/kv-store";

/** How much each key may do: `burst` at once, and as much again as `perSecond` gives back. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

interface Bucket {
  left: number;
  /** When `left` was true, on the monotonic clock. */
  atMs: number;
}

/**
 * Counts what each key does, in this process alone. It remembers the keys that were used last, up to
 * `keysMax`; one that it forgot starts with a full burst.
 */
export class RateLimiter {
  readonly #clock: Clock;
  readonly #rate: Rate;
  readonly #keysMax: number;
  /** The least recently used first. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(parts: { readonly clock: Clock; readonly rate: Rate; readonly keysMax: number }) {
    this.#clock = parts.clock;
    this.#rate = parts.rate;
    this.#keysMax = parts.keysMax;
  }

  /** Takes one. 0 when the key had one left, else the whole seconds after which it has. */
  take(key: string): number {
    const { perSecond, burst } = this.#rate;
    const nowMs = this.#clock.monotonicMs();
    const bucket = this.#buckets.get(key) ?? { left: burst, atMs: nowMs };
    bucket.left = Math.min(burst, bucket.left + ((nowMs - bucket.atMs) / 1_000) * perSecond);
    bucket.atMs = nowMs;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#keysMax) this.#forgetOldest();
    if (bucket.left < 1) return Math.max(1, Math.ceil((1 - bucket.left) / perSecond));
    bucket.left -= 1;
    return 0;
  }

  #forgetOldest(): void {
    const [oldest] = this.#buckets.keys();
    if (oldest !== undefined) this.#buckets.delete(oldest);
  }
}
