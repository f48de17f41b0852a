import type { Clock } from "../clock.ts";
import { LIMITS } from "../limits.ts";

export interface SharedTransactionsOptions {
  /** Keeps nothing when the action throws or the commit fails; one after another, in the order of the calls. */
  readonly transaction: <Result>(action: () => Result) => Promise<Result>;
  /** What was done in a transaction is undone. Called before anything else is done. */
  readonly onUndone: () => void;
  readonly clock: Pick<Clock, "monotonicMs" | "every">;
}

/** What is known of a change before it is made. */
export interface ChangePlan {
  readonly operationCount: number;
  /** Somebody waits for it: it does not wait for others. */
  readonly isAwaited: boolean;
}

interface Change extends ChangePlan {
  /** Returns what resolves its promise. */
  make(): () => void;
  reject(error: unknown): void;
}

/**
 * Makes changes in transactions, one at a time: those that come while one is committed share the next, since a
 * commit costs far more than a change. Those that nobody waits for gather after each commit, for as long as it took,
 * a few times over, within bounds: so a steady stream makes few commits, and fewer still on a busy machine. What comes
 * after a longer pause is made at once. When one of several fails, each is made anew in a transaction of its own, so a
 * change must be one that can be made again after it was undone.
 */
export class SharedTransactions {
  readonly #options: SharedTransactionsOptions;
  readonly #waiting: Change[] = [];
  #running: Promise<void> | undefined;
  /** Until when changes gather, by the monotonic clock. */
  #gatherUntilMs = -Infinity;
  /** Set while some do: ends the timer. */
  #stopTimer: (() => void) | undefined;

  constructor(options: SharedTransactionsOptions) {
    this.#options = options;
  }

  /** Resolves when the change is committed. Changes are made in the order of the calls. */
  make<Result>(plan: ChangePlan, change: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      const make = (): (() => void) => {
        const result = change();
        return () => resolve(result);
      };
      this.#waiting.push({ ...plan, make, reject });
      this.#runOrGather();
    });
  }

  /** Resolves when none is under way. */
  async idle(): Promise<void> {
    while (this.#waiting.length > 0 || this.#running !== undefined) await this.#runNow();
  }

  #runOrGather(): void {
    if (this.#running !== undefined) return;
    const { clock } = this.#options;
    const leftMs = this.#gatherUntilMs - clock.monotonicMs();
    if (leftMs <= 0 || this.#isUrgent) void this.#runNow();
    else this.#stopTimer ??= clock.every(leftMs, () => void this.#runNow());
  }

  #runNow(): Promise<void> {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    this.#running ??= this.#run();
    return this.#running;
  }

  /** Somebody waits for a change, or more of them would not fit into a transaction. */
  get #isUrgent(): boolean {
    let operations = 0;
    return this.#waiting.some(({ operationCount, isAwaited }) => {
      operations += operationCount;
      return isAwaited || operations >= LIMITS.replicaSharedOperationsMax;
    });
  }

  /** Never rejected. */
  async #run(): Promise<void> {
    do await this.#commit(this.#take());
    while (this.#isUrgent);
    this.#running = undefined;
    if (this.#waiting.length > 0) this.#runOrGather();
  }

  /** A commit that began then has ended. */
  #committed(beganMs: number): void {
    const endMs = this.#options.clock.monotonicMs();
    const gatherMs = (endMs - beganMs) * LIMITS.replicaGatherFactor;
    const { replicaGatherMsMin: leastMs, replicaGatherMsMax: mostMs } = LIMITS;
    this.#gatherUntilMs = endMs + Math.min(Math.max(gatherMs, leastMs), mostMs);
  }

  #take(): Change[] {
    let operations = 0;
    const end = this.#waiting.findIndex(({ operationCount }, index) => {
      operations += operationCount;
      return index > 0 && operations > LIMITS.replicaSharedOperationsMax;
    });
    return this.#waiting.splice(0, end === -1 ? this.#waiting.length : end);
  }

  async #commit(changes: ReadonlyArray<Change>): Promise<void> {
    const beganMs = this.#options.clock.monotonicMs();
    try {
      const resolves = await this.#options.transaction(() => this.#make(changes));
      // Before anybody is told: what they do next comes behind the commit.
      this.#committed(beganMs);
      for (const resolve of resolves) resolve();
    } catch (error) {
      this.#options.onUndone();
      if (changes.length === 1) changes[0]?.reject(error);
      else for (const change of changes) await this.#commit([change]);
    }
  }

  #make(changes: ReadonlyArray<Change>): ReadonlyArray<() => void> {
    try {
      return changes.map((change) => change.make());
    } catch (error) {
      // At once: another transaction may follow in this turn.
      this.#options.onUndone();
      throw error;
    }
  }
}
