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
  /** A binary heap: each event is before the two at twice its place and one or two more. */
  readonly #events: Event[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Plans an action for `delayMs` from now. */
  after(delayMs: number, action: () => void): void {
    this.#number += 1;
    this.#push({ atMs: this.#nowMs + delayMs, number: this.#number, action });
  }

  /** Runs everything planned up to `untilMs`, or until `isDone` says so after a step. */
  run(untilMs: number, isDone: () => boolean = () => false): void {
    for (;;) {
      const event = this.#events[0];
      if (event === undefined || event.atMs > untilMs) break;
      this.#shift();
      this.#nowMs = event.atMs;
      event.action();
      if (isDone()) return;
    }
    this.#nowMs = untilMs;
  }

  #push(event: Event): void {
    let place = this.#events.push(event) - 1;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (!this.#isBefore(place, above)) return;
      this.#swap(place, above);
      place = above;
    }
  }

  /** Removes the first event. */
  #shift(): void {
    const last = this.#events.pop();
    if (last === undefined || this.#events.length === 0) return;
    this.#events[0] = last;
    for (let place = 0; ;) {
      const left = 2 * place + 1;
      const first = this.#isBefore(left + 1, left) ? left + 1 : left;
      if (!this.#isBefore(first, place)) return;
      this.#swap(place, first);
      place = first;
    }
  }

  /** Whether what is at one place comes before what is at another; a place behind the end never does. */
  #isBefore(one: number, other: number): boolean {
    const first = this.#events[one];
    const second = this.#events[other];
    if (first === undefined || second === undefined) return false;
    return first.atMs === second.atMs ? first.number < second.number : first.atMs < second.atMs;
  }

  #swap(one: number, other: number): void {
    const first = this.#events[one];
    const second = this.#events[other];
    if (first === undefined || second === undefined) return;
    this.#events[one] = second;
    this.#events[other] = first;
  }
}
