/** Time as this package sees it, so that tests can turn it by hand. */
export interface Clock {
  /** Milliseconds since the epoch. */
  nowMs(): number;
  /** Calls back every `intervalMs` until the returned function is called; does not keep a process alive. */
  every(intervalMs: number, callback: () => void): () => void;
}

/** The machine's own time, for composition roots. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  every: (intervalMs, callback) => {
    const timer = setInterval(callback, intervalMs).unref();
    return () => clearInterval(timer);
  },
};
