interface Waiting {
  readonly owner: string;
  readonly begin: () => void;
}

/**
 * Lets a bounded number of tasks run at once. Of the others, those of whoever has the fewest running go first, and of
 * these who has waited longest: however many somebody brings, the next one of anybody else waits for one of them.
 */
export class FairTurnstile {
  /** In the order in which they came. */
  readonly #waiting: Waiting[] = [];
  /** How many tasks run, by owner, of those that have any. */
  readonly #running = new Map<string, number>();
  #free: number;

  constructor(runningMax: number) {
    this.#free = runningMax;
  }

  async run<T>(owner: string, task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#enter(owner);
    else await new Promise<void>((begin) => this.#waiting.push({ owner, begin }));
    try {
      return await task();
    } finally {
      this.#leave(owner);
      this.#beginNext();
    }
  }

  #beginNext(): void {
    const fewest = Math.min(...this.#waiting.map(({ owner }) => this.#running.get(owner) ?? 0));
    const next = this.#waiting.findIndex(({ owner }) => (this.#running.get(owner) ?? 0) === fewest);
    if (next === -1) return;
    for (const { owner, begin } of this.#waiting.splice(next, 1)) {
      // The place is taken at once, so that a newcomer can't overtake who waits.
      this.#enter(owner);
      begin();
    }
  }

  #enter(owner: string): void {
    this.#free -= 1;
    this.#running.set(owner, (this.#running.get(owner) ?? 0) + 1);
  }

  #leave(owner: string): void {
    this.#free += 1;
    const left = (this.#running.get(owner) ?? 0) - 1;
    if (left > 0) this.#running.set(owner, left);
    else this.#running.delete(owner);
  }
}
