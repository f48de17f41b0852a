import type { WorkerKey } from "@atoll/control-plane/contract";
import type { EdgeErrorCode } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import type { RequestFailure } from "../ingress.ts";

/** What it needs of a log. */
interface Warnings {
  warn(fields: object, message: string): void;
}

interface Told {
  readonly worker: WorkerKey;
  readonly code: EdgeErrorCode;
  readonly atMs: number;
  /** How many failed alike since. */
  more: number;
}

/**
 * Tells the log of requests that failed: of those that fail alike the first in full, and the number of all
 * that follow within `LIMITS.failureLogMs`. A worker that rests fails every request that comes, and telling of
 * one takes ten times as long as to refuse it.
 */
export class FailureLog {
  readonly #log: Warnings;
  readonly #nowMs: () => number;
  /** By worker and code, in the order of `atMs`. */
  readonly #told = new Map<string, Told>();

  constructor(log: Warnings, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  note({ code, worker, ray, cause }: Omit<RequestFailure, "method" | "head">): void {
    const nowMs = this.#nowMs();
    this.#forget(nowMs - LIMITS.failureLogMs);
    const key = `${worker} ${code}`;
    const told = this.#told.get(key);
    if (told !== undefined) {
      told.more += 1;
      return;
    }
    this.#told.set(key, { worker, code, atMs: nowMs, more: 0 });
    this.#log.warn({ code, worker, ray, err: cause }, "request failed");
  }

  /** Tells what was not told yet. */
  flush(): void {
    this.#forget(Infinity);
  }

  /** Lets go of what was told until then. */
  #forget(untilMs: number): void {
    for (const [key, { worker, code, atMs, more }] of this.#told) {
      if (atMs > untilMs) return;
      this.#told.delete(key);
      if (more > 0) this.#log.warn({ code, worker, requests: more }, "further requests failed");
    }
  }
}
