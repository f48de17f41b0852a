/** Lets one holder per key in at a time, in the order of their calls. */
export class KeyedLock {
  /** The end of the last holder in line, per key; a key without holders has no entry. */
  readonly #tails = new Map<string, Promise<unknown>>();

  async run<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const previous = this.#tails.get(key) ?? Promise.resolve();
    // A holder that failed told its own caller; whoever comes next starts all the same.
    const current = previous.then(work, work);
    this.#tails.set(key, current);
    try {
      return await current;
    } finally {
      if (this.#tails.get(key) === current) this.#tails.delete(key);
    }
  }
}
