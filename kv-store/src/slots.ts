/** Lets so many actions run at once; the others wait in the order in which they came. */
export class Slots {
  readonly #waiting: Array<() => void> = [];
  #free: number;

  constructor(countMax: number) {
    this.#free = countMax;
  }

  /** Runs the action when there is a free slot, and ends as it does. */
  async run<Result>(action: () => Promise<Result>): Promise<Result> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await action();
    } finally {
      // The slot goes to the next one directly, so that nobody overtakes it.
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
