import {
  SCHEDULED_RUNS_MAX,
  type ScheduledEnd,
  type ScheduledEvent,
  type ScheduledRun,
} from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { LIMITS } from "../limits.ts";
import type { ScheduledCaller } from "./scheduled-caller.ts";

/** Where runs are told. */
export interface RunReceiver {
  runs(runs: ReadonlyArray<ScheduledRun>): void;
  end(end: ScheduledEnd): void;
}

interface HeldRun {
  readonly run: ScheduledRun;
  /** Once it has ended. */
  end: ScheduledEnd | undefined;
}

export interface ScheduledRunsOptions {
  readonly caller: Pick<ScheduledCaller, "call">;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * The scheduled events that this node was given: each is run at once, and its end is told over whichever
 * connection there is until the control plane has it. They are held in memory alone: a node that is killed
 * has lost them, and says so by not naming them on its next connection.
 */
export class ScheduledRuns {
  readonly #options: ScheduledRunsOptions;
  readonly #held = new Map<string, HeldRun>();
  readonly #stopTelling: () => void;
  #receiver: RunReceiver | undefined;
  #isClosing = false;
  #onEmpty: () => void = () => undefined;

  constructor(options: ScheduledRunsOptions) {
    this.#options = options;
    this.#stopTelling = options.clock.every(LIMITS.scheduledTellMs, () => {
      if (this.#held.size > 0) this.#tell();
    });
  }

  /** Tells what there is over a new connection; events may come from now on. */
  connected(receiver: RunReceiver): void {
    this.#receiver = receiver;
    this.#tell();
    for (const { end } of this.#held.values()) if (end !== undefined) receiver.end(end);
  }

  disconnected(): void {
    this.#receiver = undefined;
  }

  /** Runs an event. One that it has already is not run again. */
  start(event: ScheduledEvent): void {
    const { run } = event;
    if (this.#held.has(run.occurrence)) return;
    if (this.#held.size >= SCHEDULED_RUNS_MAX) {
      this.#options.log.error({ run }, "too many scheduled events: one is left to another attempt");
      return;
    }
    const held: HeldRun = { run, end: undefined };
    this.#held.set(run.occurrence, held);
    const ended = (end: Omit<ScheduledEnd, "run">): void => {
      held.end = { run, ...end };
      this.#receiver?.end(held.end);
    };
    if (this.#isClosing) {
      ended({ outcome: "unavailable", isFinal: false, wallMs: 0 });
      return;
    }
    this.#options.caller.call(event).then(ended, (error: unknown) => {
      this.#options.log.error({ err: error, run }, "could not call a scheduled worker");
      ended({ outcome: "unavailable", isFinal: false, wallMs: 0 });
    });
  }

  /** The control plane needs a run no more. */
  acknowledged({ occurrence, attempt }: ScheduledRun): void {
    if (this.#held.get(occurrence)?.run.attempt === attempt) this.#held.delete(occurrence);
    if (this.#held.size === 0) this.#onEmpty();
  }

  /**
   * Takes no events any more. Resolves when the ends of all are known there, or after `LIMITS.drainMs`: while
   * the connection still stands, so that what ended well is not run again. May be called twice.
   */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#stopTelling();
    if (this.#held.size === 0 || this.#receiver === undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onEmpty = resolve;
    const timer = setTimeout(resolve, LIMITS.drainMs);
    await promise;
    clearTimeout(timer);
  }

  #tell(): void {
    this.#receiver?.runs([...this.#held.values()].map(({ run }) => run));
  }
}
