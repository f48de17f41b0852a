/** Runs an action one time after another. Whoever asks for it meanwhile shares the run that follows. */
export class SharedRuns {
  readonly #action: () => Promise<void>;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  /** The action is never rejected. */
  constructor(action: () => Promise<void>) {
    this.#action = action;
  }

  /** Resolves when a run has ended that began after the call. */
  run(): Promise<void> {
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      this.#running = this.#action();
      return this.#running;
    });
    return this.#next;
  }
}
