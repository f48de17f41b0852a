/**
 * Time as this package sees it, so that tests can turn it by hand. There are two clocks, because a machine
 * has two: what is compared with a date goes by the wall clock, what is waited for by the monotonic one.
 */
export interface Clock {
  /** The wall clock: milliseconds since the epoch. It can be set at any moment, forwards and back. */
  nowMs(): number;
  /**
   * The monotonic clock: milliseconds since a moment that only this process knows. It never goes back and
   * nobody can set it, so deadlines, waits and ages go by it.
   */
  monotonicMs(): number;
  /** Calls back every `intervalMs` until the returned function is called; does not keep a process alive. */
  every(intervalMs: number, callback: () => void): () => void;
}

/** The machine's own time, for composition roots. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => Math.floor(performance.now()),
  every: (intervalMs, callback) => {
    const timer = setInterval(callback, intervalMs).unref();
    return () => clearInterval(timer);
  },
};
