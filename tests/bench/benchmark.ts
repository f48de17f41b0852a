/** One number that a benchmark found. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: "ms" | "µs" | "s" | "requests/s" | "MB" | "MB/s" | "×" | "count";
  /** The highest value that Atoll wants to show; absent where a figure only informs. */
  readonly atMost?: number;
  /** The lowest one, where more is better. */
  readonly atLeast?: number;
}

/** What a benchmark found, and from what. */
export interface Outcome {
  readonly settings: Readonly<Record<string, number>>;
  readonly figures: ReadonlyArray<Figure>;
  /** What a reader must know beside the figures, such as what could not be measured and why. */
  readonly remarks?: ReadonlyArray<string>;
  /** Every single measurement behind the figures, in the order in which it was taken. */
  readonly samples: Readonly<Record<string, ReadonlyArray<number>>>;
}

export interface Benchmark {
  /** How the command line calls it. */
  readonly name: string;
  /** What it measures, in one line. */
  readonly subject: string;
  /**
   * Starts what it needs, and gives each part to `resources` at once: that is disposed of when the
   * benchmark has ended, and also when it is given up. Rejected when anything but speed is wrong.
   */
  run(resources: AsyncDisposableStack): Promise<Outcome>;
}

/**
 * Starts a part and sees to its end, also when the benchmark is given up while the part still starts.
 * Rejected when `start` is.
 */
export async function hold<Part>(
  resources: AsyncDisposableStack,
  start: () => Promise<Part>,
  stop: (part: Part) => Promise<void>,
): Promise<Part> {
  if (resources.disposed) throw new Error("the benchmark was given up");
  const starting = start();
  resources.defer(async () => {
    // What did not start needs no end; whoever waits for `starting` gets the reason.
    const part = await starting.catch(() => undefined);
    if (part !== undefined) await stop(part);
  });
  return starting;
}
