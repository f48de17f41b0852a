import { EdgeError } from "../errors.ts";

interface Waiting<Input, Output> {
  readonly input: Input;
  readonly resolve: (output: Output) => void;
  readonly reject: (reason: unknown) => void;
}

/** Runs one call at a time. Of those that come meanwhile only the newest waits: it says what they said, and more. */
export class LatestTurn<Input, Output> {
  readonly #run: (input: Input) => Promise<Output>;
  #waiting: Waiting<Input, Output> | undefined;
  #running: Promise<void> | undefined;

  constructor(run: (input: Input) => Promise<Output>) {
    this.#run = run;
  }

  /** As `run`; rejected with `superseded` when a newer call came before this one's turn. */
  async take(input: Input): Promise<Output> {
    this.#waiting?.reject(new EdgeError("superseded", "a newer state came before this one's turn"));
    const { promise, resolve, reject } = Promise.withResolvers<Output>();
    this.#waiting = { input, resolve, reject };
    this.#running ??= this.#runWaiting();
    return promise;
  }

  /** Rejects what waits; resolves when nothing is under way. */
  async stop(reason: unknown): Promise<void> {
    this.#waiting?.reject(reason);
    this.#waiting = undefined;
    await this.#running;
  }

  async #runWaiting(): Promise<void> {
    for (let next = this.#waiting; next !== undefined; next = this.#waiting) {
      this.#waiting = undefined;
      try {
        next.resolve(await this.#run(next.input));
      } catch (error) {
        next.reject(error);
      }
    }
    // In the same turn as the look that found nobody, so that no call falls between.
    this.#running = undefined;
  }
}
