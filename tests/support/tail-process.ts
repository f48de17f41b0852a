import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { QUIET_WRANGLER, type TestAtoll, type WranglerRelease, wranglerScript } from "./atoll.ts";
import { eventually } from "./eventually.ts";

/** An event as `wrangler tail --format json` writes it; of a notice only `event` says anything. */
export interface TailedEvent {
  readonly outcome: string;
  readonly event: {
    readonly type?: string;
    readonly message?: string;
    readonly request?: {
      readonly url: string;
      readonly method: string;
      readonly headers: Readonly<Record<string, string>>;
    };
    readonly response?: { readonly status: number };
  } | null;
  readonly logs: ReadonlyArray<{ readonly message: ReadonlyArray<unknown> }>;
  readonly exceptions: ReadonlyArray<{ readonly name: string; readonly message: string }>;
  readonly scriptVersion?: { readonly id: string };
}

/** A `wrangler tail` that runs until it is ended. */
export class TailProcess {
  readonly #process: ChildProcess;
  #output = "";

  constructor(
    atoll: Pick<TestAtoll, "dataDirectory" | "variables">,
    options: {
      readonly worker: string;
      readonly release: WranglerRelease;
      readonly flags?: ReadonlyArray<string>;
    },
  ) {
    const { worker, release, flags = [] } = options;
    this.#process = spawn(process.execPath, [wranglerScript(release), "tail", worker, ...flags], {
      cwd: atoll.dataDirectory,
      env: { ...process.env, ...atoll.variables, ...QUIET_WRANGLER },
      stdio: ["ignore", "pipe", "pipe"],
      // wrangler's script starts another process, which outlives it: both are ended as one group.
      detached: true,
    });
    const take = (piece: Buffer): void => void (this.#output += piece.toString());
    this.#process.stdout?.on("data", take);
    this.#process.stderr?.on("data", take);
  }

  get output(): string {
    return this.#output;
  }

  /** Of a tail with `--format json`. */
  get events(): ReadonlyArray<TailedEvent> {
    const whole = this.#output.slice(0, this.#output.lastIndexOf("\n}") + 2);
    const texts = whole.split(/(?<=^\})\n/m).filter((text) => text.trimStart().startsWith("{"));
    return texts.map((text) => JSON.parse(text) as TailedEvent);
  }

  /** Resolves when a tail with `--format pretty` says that it waits for logs. */
  async connected(times = 1): Promise<void> {
    await this.shows("waiting for logs", times);
  }

  async shows(text: string, times = 1): Promise<void> {
    await eventually(() => this.#output.split(text).length > times, {
      what: `wrangler tail shows '${text}' ${times} times`,
      deadlineMs: 40_000,
    }).catch((error: unknown) => {
      throw new Error(`wrangler tail wrote:\n${this.#output}`, { cause: error });
    });
  }

  get hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  async end(signal: "SIGINT" | "SIGKILL" = "SIGKILL"): Promise<void> {
    if (this.hasEnded) return;
    const { pid } = this.#process;
    if (pid === undefined) return;
    const exited = once(this.#process, "exit");
    process.kill(-pid, signal);
    await exited;
  }
}
