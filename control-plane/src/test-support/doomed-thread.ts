import type { Worker } from "node:worker_threads";

/** For tests: sees the threads that start from now on, and lets the latest die of a job, as of a defect of its own. */
export class DoomedThread {
  #latest: Worker | undefined;
  #doomed: Worker | undefined;
  readonly #note = (worker: Worker): void => {
    this.#latest = worker;
  };

  constructor() {
    process.on("worker", this.#note);
  }

  /** Let so many jobs be done, and the thread die of the one that follows: with it in hand, and undone. */
  dieAfter(jobs: number): void {
    const worker = this.#latest;
    if (worker === undefined) throw new Error("no thread has started");
    this.#doomed = worker;
    const post = worker.postMessage.bind(worker);
    let left = jobs;
    worker.postMessage = (job: unknown) => {
      // No job is like this, so it is thrown out of the listener, past what answers for jobs that fail.
      if (left === 0) post(undefined);
      left -= 1;
      post(job);
    };
  }

  /** Whether it has ended; others may have started since. */
  get isDead(): boolean {
    return this.#doomed?.threadId === -1;
  }

  close(): void {
    process.off("worker", this.#note);
  }
}
