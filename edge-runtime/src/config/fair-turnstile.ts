interface Waiting {
  readonly owner: string;
  readonly begin: () => void;
}

/**
 * Lets a bounded number of tasks run at once. Of the others, those of whoever has the fewest running go first, and of
 * these who has waited longest: however many somebody brings, the next one of anybody else waits for one of them, or
 * for none where one owner can't have all places.
 */
export class FairTurnstile {
  /** In the order in which they came. */
  readonly #waiting: Waiting[] = [];
  /** How many tasks run, by owner, of those that have any. */
  readonly #running = new Map<string, number>();
  readonly #ownerMax: number;
  #free: number;

  constructor(options: { readonly runningMax: number; readonly ownerMax?: number }) {
    this.#free = options.runningMax;
    this.#ownerMax = options.ownerMax ?? options.runningMax;
  }

  async run<T>(owner: string, task: () => Promise<T>): Promise<T> {
    await new Promise<void>((begin) => {
      this.#waiting.push({ owner, begin });
      this.#beginNext();
    });
    try {
      return await task();
    } finally {
      this.#leave(owner);
      this.#beginNext();
    }
  }

  #beginNext(): void {
    if (this.#free === 0) return;
    const next = Math.min(
      this.#ownerMax - 1,
      ...this.#waiting.map((each) => this.#runningOf(each)),
    );
    const index = this.#waiting.findIndex((each) => this.#runningOf(each) === next);
    if (index === -1) return;
    for (const { owner, begin } of this.#waiting.splice(index, 1)) {
      // The place is taken at once, so that a newcomer can't overtake who waits.
      this.#free -= 1;
      this.#running.set(owner, this.#runningOf({ owner }) + 1);
      begin();
    }
  }

  #runningOf({ owner }: Pick<Waiting, "owner">): number {
    return this.#running.get(owner) ?? 0;
  }

  #leave(owner: string): void {
    this.#free += 1;
    const left = this.#runningOf({ owner }) - 1;
    if (left > 0) this.#running.set(owner, left);
    else this.#running.delete(owner);
  }
}
