import { Worker } from "node:worker_threads";
import { ControlPlaneError } from "../errors.ts";

/** What a thread says of each job, in the order in which it got them. */
type JobAnswer<Result> =
  | { readonly kind: "done"; readonly result: Result }
  | { readonly kind: "failed"; readonly error: unknown };

/**
 * A thread that does jobs one after the other, for what would keep everybody else waiting. Its script answers each
 * message with a `JobAnswer`. It is started with the first job, and anew with the next one after it died. A process
 * ends without waiting for it.
 */
export class JobThread<Job, Result> {
  readonly #script: URL;
  #running: RunningThread<Job, Result> | undefined;

  constructor(script: URL) {
    this.#script = script;
  }

  /**
   * Does the job, of which the thread gets a copy: but `SharedArrayBuffer`s are lent to it until this is over.
   * Rejected with what the job throws, and with `thread_died` when the thread dies: not all of what it was lent is
   * then as it was.
   */
  run(job: Job): Promise<Result> {
    if (this.#running?.isOver !== false) this.#running = new RunningThread(this.#script);
    return this.#running.run(job);
  }

  /** Ends it, and rejects the jobs that it has. May be called twice. */
  async close(): Promise<void> {
    await this.#running?.close();
  }
}

class RunningThread<Job, Result> {
  readonly #worker: Worker;
  readonly #waiting: Array<PromiseWithResolvers<Result>> = [];
  isOver = false;

  constructor(script: URL) {
    this.#worker = new Worker(script);
    this.#worker.unref();
    this.#worker.on("message", (answer: JobAnswer<Result>) => this.#settle(answer));
    let cause: unknown;
    this.#worker.on("error", (error) => (cause = error));
    // Only now it has left alone what it was lent.
    this.#worker.on("exit", (code) => this.#end(cause ?? new Error(`exit code ${code}`)));
  }

  run(job: Job): Promise<Result> {
    const waiting = Promise.withResolvers<Result>();
    this.#worker.postMessage(job);
    this.#waiting.push(waiting);
    return waiting.promise;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #settle(answer: JobAnswer<Result>): void {
    const waiting = this.#waiting.shift();
    if (answer.kind === "done") waiting?.resolve(answer.result);
    else waiting?.reject(answer.error);
  }

  #end(cause: unknown): void {
    this.isOver = true;
    for (const waiting of this.#waiting.splice(0)) {
      const message = "The thread that had the job died: try again";
      waiting.reject(new ControlPlaneError("thread_died", message, { cause }));
    }
  }
}
