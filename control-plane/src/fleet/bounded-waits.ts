/** Those who wait for something that others bring about, each for a bounded time. */
export class BoundedWaits {
  readonly #looks = new Set<() => void>();

  /** Resolves when it is so, as is seen now and at each `look`, or after `waitMs`. */
  until(isSo: () => boolean, waitMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = (): void => {
      if (isSo()) resolve();
    };
    const timer = setTimeout(resolve, waitMs);
    this.#looks.add(look);
    look();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#looks.delete(look);
    });
  }

  /** To be called when what they wait for may have come. */
  look(): void {
    for (const look of this.#looks) look();
  }
}
