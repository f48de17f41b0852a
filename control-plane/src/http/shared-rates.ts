import type { Clock } from "@atoll/kv-store";
import { z } from "zod";
import { LIMITS } from "../limits.ts";
import { LIMITED, type RequestLimiters } from "./rate-limits.ts";

/** What one control plane gave: of what, to whom, and how much. Unread when it is of a later release. */
const SharedUses = z.array(z.tuple([z.enum(LIMITED), z.string(), z.int().positive()]));
type SharedUse = z.infer<typeof SharedUses>[number];

/**
 * Makes the limits of requests those of all control planes together: each goes on to decide by itself, and tells
 * the others each second what it gave, which they take from what the same key has with them. What is lost on
 * the way, or while the database is away, counts only where it was given.
 */
export class SharedRates {
  readonly #limiters: RequestLimiters;
  readonly #tell: (text: string) => void;
  readonly #stop: () => void;

  constructor(parts: {
    readonly limiters: RequestLimiters;
    readonly clock: Clock;
    /** Sends a text to all others, which `take` it. */
    readonly tell: (text: string) => void;
  }) {
    this.#limiters = parts.limiters;
    this.#tell = parts.tell;
    this.#stop = parts.clock.every(LIMITS.sharedUsesMs, () => this.#share());
  }

  /** Takes in what another control plane told. */
  take(text: string): void {
    for (const [what, key, count] of readUses(text)) this.#limiters[what].spend({ key, count });
  }

  /** May be called twice. */
  close(): void {
    this.#stop();
  }

  #share(): void {
    const uses = LIMITED.flatMap((what) => {
      const limiter = this.#limiters[what];
      const least = limiter.rate.perSecond * LIMITS.sharedUsesPart * (LIMITS.sharedUsesMs / 1_000);
      return limiter.drain(least).map(({ key, count }): SharedUse => [what, key, count]);
    });
    // Of more than there is room for, those who ask most are the ones to bound.
    uses.sort(([, , left], [, , right]) => right - left);
    for (let start = 0; start < LIMITS.sharedUsesMax; start += LIMITS.sharedUsesPerText) {
      const piece = uses.slice(start, start + LIMITS.sharedUsesPerText);
      if (piece.length > 0) this.#tell(JSON.stringify(piece));
    }
  }
}

function readUses(text: string): ReadonlyArray<SharedUse> {
  try {
    return SharedUses.parse(JSON.parse(text));
  } catch {
    return []; // of another release: it counts for itself, and so do we
  }
}
