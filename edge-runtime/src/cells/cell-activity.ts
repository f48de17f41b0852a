import { LIMITS } from "../limits.ts";
import { mainThreadTimes, ownMemoryBytes, type ThreadTimes } from "./process-table.ts";

/**
 * What a cell did lately, as the kernel tells it: nobody has to count requests, whichever ingress is in
 * front. Whoever owns it looks from time to time.
 */
export class CellActivity {
  readonly #pid: number;
  readonly #startedAtMs: number;
  #lastUseMs = 0;
  /** As of the look before; absent before the first one. */
  #seen: { readonly times: ThreadTimes; readonly atMs: number } | undefined;
  #busyShare = 0;
  #memoryBytes: number = LIMITS.idleCellMemoryBytes;

  constructor(pid: number, startedAtMs: number) {
    this.#pid = pid;
    this.#startedAtMs = startedAtMs;
  }

  /** When it was last known to be used; 0: never. A look finds out what happened since the one before. */
  get lastUseMs(): number {
    return this.#lastUseMs;
  }

  get idleSinceMs(): number {
    return Math.max(this.#lastUseMs, this.#startedAtMs);
  }

  /**
   * Between the latest two looks, which part of the time its thread had something to do. Where others take
   * the processor as well, that is more than it ran: what counts is that it could not do more.
   */
  get busyShare(): number {
    return this.#busyShare;
  }

  /** Memory that is its own; before the first look what an idle cell may take. */
  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  noteUse(nowMs: number): void {
    this.#lastUseMs = Math.max(this.#lastUseMs, nowMs);
  }

  look(nowMs: number): void {
    const times = mainThreadTimes(this.#pid);
    // Gone, and whoever waits for its end is about to hear of it.
    if (times === undefined) return;
    const before = this.#seen;
    this.#seen = { times, atMs: nowMs };
    const hasMoved = before !== undefined && before.times.ranNs !== times.ranNs;
    if (hasMoved) this.noteUse(nowMs);
    this.#busyShare = before === undefined ? 0 : shareOf(before, this.#seen);
    // Memory of a cell that stood still did not change.
    if (before === undefined || hasMoved) {
      this.#memoryBytes = ownMemoryBytes(this.#pid) ?? this.#memoryBytes;
    }
  }
}

function shareOf(
  before: { readonly times: ThreadTimes; readonly atMs: number },
  now: { readonly times: ThreadTimes; readonly atMs: number },
): number {
  const passedNs = (now.atMs - before.atMs) * 1e6;
  const busyNs =
    now.times.ranNs - before.times.ranNs + (now.times.waitedNs - before.times.waitedNs);
  return passedNs > 0 ? Math.min(1, busyNs / passedNs) : 0;
}
