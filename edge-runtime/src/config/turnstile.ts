/** Lets a bounded number of tasks run at once; the others wait in the order they came. */
export class Turnstile {
  readonly #runningMax: number;
  readonly #waiting: Array<() => void> = [];
  #running = 0;

  constructor(runningMax: number) {
    this.#runningMax = runningMax;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#runningMax) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      // The place passes on directly, so that a newcomer can't overtake who waits.
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}
