import type { Clock } from "@atoll/kv-store";
import { KernelCounter, TICK_MS } from "../sandbox/kernel-file.ts";

// Fields of the first line of /proc/stat, behind its name: what all processors did together.
const IDLE_TICKS = 3;

/** How many of the machine's processors have nothing to do. */
export class SpareCores {
  readonly #counter = new KernelCounter("/proc/stat");
  readonly #clock: Pick<Clock, "monotonicMs">;
  #seen: { readonly idleMs: number; readonly asOfMs: number } | undefined;

  constructor(clock: Pick<Clock, "monotonicMs">) {
    this.#clock = clock;
  }

  /** As a mean since the look before, such as 0.5; 0 at the first one, and `Infinity` where nobody counts it. */
  look(): number {
    const fields = this.#counter.read()?.trimStart().split(/ +/).slice(1);
    if (fields === undefined) return Infinity;
    const now = { idleMs: Number(fields[IDLE_TICKS]) * TICK_MS, asOfMs: this.#clock.monotonicMs() };
    const before = this.#seen ?? now;
    this.#seen = now;
    const passedMs = now.asOfMs - before.asOfMs;
    return passedMs > 0 ? (now.idleMs - before.idleMs) / passedMs : 0;
  }

  /** May be called twice. */
  close(): void {
    this.#counter.close();
  }
}
