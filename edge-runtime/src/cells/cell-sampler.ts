import type { Clock } from "@atoll/kv-store";
import type { CellSample } from "./cell-sample.ts";

export interface CellSamplerOptions {
  readonly clock: Clock;
  /**
   * Processor time that all cells together have used: while it stands still no cell has run, and none is read.
   * `undefined` where nobody counts it; then each is read every time.
   */
  readonly totalNs: () => number | undefined;
}

/**
 * Keeps what is known of all cells up to date, for everybody who has to know: the watchdog, which asks for it
 * by its timer, the keeper, reports and usage. While no cell runs, that is one read for all of them.
 */
export class CellSampler {
  readonly #options: CellSamplerOptions;
  readonly #samples = new Set<CellSample>();
  #totalNs: number | undefined;

  constructor(options: CellSamplerOptions) {
    this.#options = options;
  }

  /** Keeps a sample up to date until the returned function is called. */
  follow(sample: CellSample): () => void {
    sample.read(this.#options.clock.monotonicMs());
    this.#samples.add(sample);
    return () => this.#samples.delete(sample);
  }

  /** Brings all samples up to date. */
  sample(): void {
    const nowMs = this.#options.clock.monotonicMs();
    // Before any cell: what one does from here on moves it once more, and is found the next time.
    const totalNs = this.#options.totalNs();
    const hasStoodStill = totalNs !== undefined && totalNs === this.#totalNs;
    this.#totalNs = totalNs;
    for (const sample of this.#samples) {
      if (hasStoodStill) sample.confirm(nowMs);
      else sample.read(nowMs);
    }
  }
}
