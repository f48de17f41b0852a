import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { runtimeArguments } from "../../bin/runtime-arguments.mjs";

export interface ManagedProcessOptions {
  /** How messages call it, such as `fra`. */
  readonly name: string;
  /** Arguments of the `atoll` command that the process runs. */
  readonly arguments: ReadonlyArray<string>;
  /** Gets each line that the process writes. */
  readonly onLine: (line: string) => void;
  /** Called after each start, when the process id is known. */
  readonly onStart: () => void;
  /** Told of an end that was not asked for; the process is then started again. */
  readonly onCrash: (ending: string) => void;
}

// Fast enough that nobody waits for a process that died once, slow enough for one that can't start.
const RESTART_MS = 250;
const RESTART_MS_MAX = 5_000;
// A node lets scheduled events end for 30 s, and requests and WebSockets for as long after that; what has not ended
// then never will.
const STOP_MS = 75_000;
// A process that ran this long had started well: the next restart is quick again.
const HEALTHY_MS = 10_000;

const MAIN = new URL("../main.ts", import.meta.url);

/**
 * One process of `atoll up`: started, started again when it dies, stopped with its parent. It tells
 * that it serves by an IPC message `{ kind: "ready" }`, and it ends by itself when its parent is gone,
 * because then its IPC channel closes.
 */
export class ManagedProcess {
  readonly #options: ManagedProcessOptions;
  readonly #ready: PromiseWithResolvers<void> = Promise.withResolvers();
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #restartMs = RESTART_MS;
  #stopping = false;

  constructor(options: ManagedProcessOptions) {
    this.#options = options;
    // A process that is stopped before it was ready has nobody waiting for it.
    this.#ready.promise.catch(() => undefined);
  }

  get name(): string {
    return this.#options.name;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves when the process serves for the first time; rejected when it ends before that. */
  start(): Promise<void> {
    this.#spawn();
    return this.#ready.promise;
  }

  /** From now on an end of the process is no crash: a Ctrl-C in a terminal reaches all at once. */
  expectEnd(): void {
    this.#stopping = true;
    clearTimeout(this.#restart);
  }

  /** Resolves when the process is gone. May be called twice. */
  async stop(): Promise<void> {
    this.expectEnd();
    const child = this.#child;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    const kill = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await exited;
    clearTimeout(kill);
  }

  #spawn(): void {
    const startedAt = performance.now();
    const ended = (ending: string): void => this.#ended(ending, performance.now() - startedAt);
    let child: ChildProcess;
    try {
      child = this.#fork();
    } catch (error) {
      // Most reasons are told as an event, and some are thrown.
      ended(String(error));
      return;
    }
    this.#child = child;
    child.on("error", (error) => {
      // Such as a machine with too many processes. What fails later is told by the end of the process as well.
      if (child.pid === undefined) ended(String(error));
    });
    if (child.pid === undefined) return;
    try {
      this.#options.onStart();
    } catch (error) {
      // Such as a full disk: the process serves all the same.
      this.#options.onLine(`could not note that ${this.#options.name} started: ${String(error)}`);
    }
    this.#forwardLines(child.stdout);
    this.#forwardLines(child.stderr);
    child.on("message", () => this.#ready.resolve());
    child.on("exit", (code, signal) => {
      ended(signal === null ? `exit code ${code}` : `signal ${signal}`);
    });
  }

  #fork(): ChildProcess {
    const { arguments: given } = this.#options;
    return fork(MAIN, given, {
      execArgv: [...process.execArgv, ...runtimeArguments(given[0])],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
  }

  /** It is gone, or could not be started. */
  #ended(ending: string, ranMs: number): void {
    const { name } = this.#options;
    this.#ready.reject(new Error(`${name} ended with ${ending} before it was ready`));
    if (this.#stopping) return;
    this.#options.onCrash(ending);
    this.#scheduleRestart(ranMs);
  }

  #forwardLines(stream: Readable | null): void {
    if (stream === null) return;
    createInterface({ input: stream }).on("line", this.#options.onLine);
  }

  #scheduleRestart(ranMs: number): void {
    if (ranMs > HEALTHY_MS) this.#restartMs = RESTART_MS;
    this.#restart = setTimeout(() => this.#spawn(), this.#restartMs);
    this.#restartMs = Math.min(this.#restartMs * 2, RESTART_MS_MAX);
  }
}
