import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";

/** One stretch of load. It ends at whichever bound is reached first. */
export interface LoadPlan {
  readonly url: string;
  /** The `Host` header of each connection; from the first again when there are fewer. */
  readonly hosts: ReadonlyArray<string>;
  /** Further header lines of each request, none by default. */
  readonly headers?: ReadonlyArray<string>;
  readonly connections: number;
  readonly requestsMax: number;
  readonly durationMs: number;
  /** Each connection waits so long after an answer; by default not at all. */
  readonly pauseMs?: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly durationMs: number;
  /** Answers other than a 200 from a warm worker, and connections that failed, as text; the first few. */
  readonly failures: ReadonlyArray<string>;
  readonly latenciesMs: ReadonlyArray<number>;
  /** What the generator itself used: near `durationMs`, it was the bottleneck. */
  readonly cpuMs: number;
}

// Longer than the last answers of a stretch are waited for.
const OVERTIME_MS_MAX = 15_000;
const PROCESS = new URL("./load-process.ts", import.meta.url);

/** Makes load from a process of its own, so that the measuring process doesn't slow it down. */
export class LoadGenerator implements AsyncDisposable {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(PROCESS, { serialization: "advanced" });
  }

  /** One plan at a time. Rejected when the process ends meanwhile, or hangs. */
  async run(plan: LoadPlan): Promise<LoadResult> {
    const ended = new AbortController();
    const late = AbortSignal.timeout(plan.durationMs + OVERTIME_MS_MAX);
    const onExit = (): void => ended.abort(new Error("the load generator ended"));
    this.#child.once("exit", onExit);
    try {
      this.#child.send(plan);
      const [result] = await once(this.#child, "message", {
        signal: AbortSignal.any([ended.signal, late]),
      });
      // Both ends of this channel are our own code, of one version.
      return result as LoadResult;
    } finally {
      this.#child.off("exit", onExit);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }
}
