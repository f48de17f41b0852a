import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  type CommandResult,
  QUIET_WRANGLER,
  type TestAtoll,
  type WranglerRelease,
  wranglerScript,
} from "./atoll.ts";

/** A wrangler that runs until it is ended. */
export class RunningWrangler {
  readonly #process: ChildProcess;
  readonly #closed: Promise<unknown>;
  #output = "";
  readonly #streams = { stdout: "", stderr: "" };

  constructor(
    atoll: Pick<TestAtoll, "variables">,
    options: {
      readonly words: ReadonlyArray<string>;
      readonly directory: string;
      readonly release: WranglerRelease;
    },
  ) {
    const { words, directory, release } = options;
    this.#process = spawn(process.execPath, [wranglerScript(release), ...words], {
      cwd: directory,
      env: { ...process.env, ...atoll.variables, ...QUIET_WRANGLER },
      stdio: ["ignore", "pipe", "pipe"],
      // wrangler's script starts another process, which outlives it: both are ended as one group.
      detached: true,
    });
    this.#closed = once(this.#process, "close");
    for (const name of ["stdout", "stderr"] as const) {
      this.#process[name]?.setEncoding("utf8").on("data", (piece: string) => {
        this.#output += piece;
        this.#streams[name] += piece;
      });
    }
  }

  /** What it wrote so far, of both streams. */
  get output(): string {
    return this.#output;
  }

  get stdout(): string {
    return this.#streams.stdout;
  }

  get stderr(): string {
    return this.#streams.stderr;
  }

  get hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** Whether a process is left of all that it started. */
  get hasProcesses(): boolean {
    return this.#signal(0);
  }

  /** Ends it, as a terminal's Ctrl-C does or at once. Resolves when nothing writes any more. */
  async end(signal: "SIGINT" | "SIGKILL" = "SIGKILL"): Promise<CommandResult> {
    if (!this.hasEnded) this.#signal(signal);
    await this.#closed;
    return { exitCode: this.#process.exitCode ?? 1, output: this.#output, ...this.#streams };
  }

  #signal(signal: NodeJS.Signals | 0): boolean {
    const { pid } = this.#process;
    if (pid === undefined) return false;
    try {
      return process.kill(-pid, signal);
    } catch {
      // ESRCH: nobody is left of the group. EPERM can't be: all of it is ours.
      return false;
    }
  }
}
