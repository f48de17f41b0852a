interface Event {
  readonly atMs: number;
  /** Breaks ties: events of one moment happen in the order in which they were planned. */
  readonly number: number;
  readonly action: () => void;
}

/** Simulated time: everything that will happen, in order. */
export class Timeline {
  #nowMs = 1_000_000;
  #number = 0;
  #events: Event[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Plans an action for `delayMs` from now. */
  after(delayMs: number, action: () => void): void {
    this.#number += 1;
    const event = { atMs: this.#nowMs + delayMs, number: this.#number, action };
    const index = this.#events.findLastIndex(({ atMs }) => atMs <= event.atMs);
    this.#events.splice(index + 1, 0, event);
  }

  /** Runs everything planned up to `untilMs`, with a look after each step. */
  run(untilMs: number, look: () => void): void {
    for (;;) {
      const event = this.#events[0];
      if (event === undefined || event.atMs > untilMs) break;
      this.#events.shift();
      this.#nowMs = event.atMs;
      event.action();
      look();
    }
    this.#nowMs = untilMs;
  }
}
