import { LIMITS } from "../limits.ts";

export interface SharedTransactionsOptions {
  /** Keeps nothing when the action throws or the commit fails; one after another, in the order of the calls. */
  readonly transaction: <Result>(action: () => Result) => Promise<Result>;
  /** What was done in a transaction is undone. Called before anything else is done. */
  readonly onUndone: () => void;
}

interface Change {
  readonly operationCount: number;
  /** Returns what resolves its promise. */
  make(): () => void;
  reject(error: unknown): void;
}

/**
 * Makes changes in transactions, one at a time: those that come while one is committed share the next, since a
 * commit costs far more than a change. When one of several fails, each is made anew in a transaction of its own,
 * so a change must be one that can be made again after it was undone.
 */
export class SharedTransactions {
  readonly #options: SharedTransactionsOptions;
  readonly #waiting: Change[] = [];
  #running: Promise<void> | undefined;

  constructor(options: SharedTransactionsOptions) {
    this.#options = options;
  }

  /** Resolves when the change is committed. Changes are made in the order of the calls. */
  make<Result>(operationCount: number, change: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      const make = (): (() => void) => {
        const result = change();
        return () => resolve(result);
      };
      this.#waiting.push({ operationCount, make, reject });
      this.#running ??= this.#run();
    });
  }

  /** Resolves when none is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /** Never rejected. */
  async #run(): Promise<void> {
    while (this.#waiting.length > 0) await this.#commit(this.#take());
    this.#running = undefined;
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
    try {
      const resolves = await this.#options.transaction(() => this.#make(changes));
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
