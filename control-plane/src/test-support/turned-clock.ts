import { TestClock } from "./test-clock.ts";

/** A test's clock that also turns by hand what otherwise happens by itself. */
export class TurnedClock extends TestClock {
  readonly #turns = new Set<() => void>();

  override every(_ms?: number, turn: () => void = () => undefined): () => void {
    this.#turns.add(turn);
    return () => this.#turns.delete(turn);
  }

  /** Does once all that is done again and again, however often that is. */
  turn(): void {
    for (const turn of this.#turns) turn();
  }
}
