import { ControlPlaneError } from "../errors.ts";

/** Lets one holder in at a time, in the order of their calls. */
export class Turns {
  readonly #waitingMax: number;
  readonly #waiting: Array<() => void> = [];
  #isTaken = false;

  constructor({ waitingMax }: { readonly waitingMax: number }) {
    this.#waitingMax = waitingMax;
  }

  /** Resolves when it is the caller's turn. Rejected with `busy` when too many wait already. */
  async take(): Promise<void> {
    if (!this.#isTaken) {
      this.#isTaken = true;
      return;
    }
    if (this.#waiting.length >= this.#waitingMax) {
      const text = `${this.#waiting.length} changes are waiting already: try again soon`;
      throw new ControlPlaneError("busy", text);
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Ends the holder's turn. */
  yield(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#isTaken = false;
    else next();
  }
}
