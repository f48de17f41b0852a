import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { Logger } from "pino";
import { recordProcess } from "../../cells/stale-cells.ts";
import { EdgeError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import { PATHS } from "./haproxy-paths.ts";
import { HaproxyProcess } from "./haproxy-process.ts";
import { EMPTY_STATE, LiveConfiguration, type LiveState } from "./live-configuration.ts";
import { RuntimeSocket } from "./runtime-socket.ts";

export interface HaproxySupervisorOptions {
  readonly binary: string;
  /** Where `writeHaproxyFiles` has written. */
  readonly directory: string;
  readonly log: Logger;
}

/** A HAProxy that serves, with the connection that tells it what changes. */
interface Serving {
  readonly process: HaproxyProcess;
  readonly runtime: RuntimeSocket;
  readonly live: LiveConfiguration;
}

/**
 * Keeps one HAProxy running on a configuration that is written already, and at the state that it should
 * know. A HAProxy that was started again serves before it knows anything: then everything takes the way
 * of cold requests, and nothing is refused.
 */
export class HaproxySupervisor {
  readonly #options: HaproxySupervisorOptions;
  #state: LiveState = EMPTY_STATE;
  #serving: Serving | undefined;
  #restarts = 0;
  #isClosing = false;
  /** Ends when the last process has. */
  #run: Promise<void> = Promise.resolve();

  /** Resolves when HAProxy listens. Rejected with `ingress_unavailable` when it does not start. */
  static async open(options: HaproxySupervisorOptions): Promise<HaproxySupervisor> {
    const supervisor = new HaproxySupervisor(options);
    const first = await supervisor.#start();
    supervisor.#run = supervisor.#keepRunning(first);
    return supervisor;
  }

  private constructor(options: HaproxySupervisorOptions) {
    this.#options = options;
  }

  get #adminPath(): string {
    return join(this.#options.directory, PATHS.admin);
  }

  get pid(): number | undefined {
    return this.#serving?.process.pid;
  }

  /** How often it was started again after it had ended. */
  get restarts(): number {
    return this.#restarts;
  }

  get state(): LiveState {
    return this.#state;
  }

  /** Replaces what HAProxy is to know. It is told at once. */
  apply(state: LiveState): void {
    this.#state = state;
    void this.#tell();
  }

  /** Resolves when HAProxy knows the newest state, or knows nothing. */
  async settled(): Promise<void> {
    await this.#tell();
  }

  /** Asks the runtime socket; `undefined` while there is no HAProxy to ask. */
  async ask(command: string): Promise<string | undefined> {
    return this.#serving?.runtime.ask(command).catch(() => undefined);
  }

  /** Starts a new worker process beside the one that serves, which finishes its requests. */
  async reload(): Promise<void> {
    const before = this.#serving;
    if (before === undefined) return;
    before.process.reload();
    // The connection is to the process that goes: it may end it, or keep it for as long as it drains.
    const shown = await before.runtime.ask("show info").catch(() => "");
    const pid = pidOf(shown);
    const connection = await this.#connect(before.process, (info) => pidOf(info) !== pid);
    this.#serve(before.process, connection);
    before.runtime.close();
  }

  /** Stops accepting, lets requests finish for `drainMs`, then ends them. May be called twice. */
  async close(drainMs: number): Promise<void> {
    const serving = this.#serving;
    if (!this.#isClosing && serving !== undefined) {
      const { process, runtime } = serving;
      this.#isClosing = true;
      process.finish();
      // HAProxy waits for every connection, this one included.
      runtime.close();
      const timer = setTimeout(() => process.stop(), drainMs);
      await process.exited;
      clearTimeout(timer);
    }
    this.#isClosing = true;
    await this.#run;
  }

  async #tell(): Promise<void> {
    const serving = this.#serving;
    if (serving === undefined) return;
    try {
      await serving.live.apply(this.#state);
    } catch (error) {
      if (this.#serving !== serving || this.#isClosing) return;
      this.#serving = undefined;
      this.#options.log.error({ err: error }, "HAProxy does not follow and is started again");
      serving.process.stop();
    }
  }

  async #keepRunning(first: HaproxyProcess): Promise<void> {
    let startedMs = performance.now();
    let backoffMs = 0;
    for (let process: HaproxyProcess | undefined = first; ; process = await this.#startAgain()) {
      if (process !== undefined) {
        if (this.#isClosing) process.stop();
        const ending = await process.exited;
        this.#serving?.runtime.close();
        this.#serving = undefined;
        if (!this.#isClosing) this.#options.log.error({ ending }, "HAProxy ended");
      }
      if (this.#isClosing) return;
      if (performance.now() - startedMs > LIMITS.ingressHealthyMs) backoffMs = 0;
      await wait(backoffMs);
      backoffMs = Math.min(LIMITS.ingressBackoffMsMax, 2 * backoffMs + POLL_MS);
      startedMs = performance.now();
    }
  }

  async #startAgain(): Promise<HaproxyProcess | undefined> {
    if (this.#isClosing) return undefined;
    try {
      const process = await this.#start();
      this.#restarts += 1;
      return process;
    } catch (error) {
      this.#options.log.error({ err: error }, "HAProxy did not start again");
      return undefined;
    }
  }

  async #start(): Promise<HaproxyProcess> {
    const { binary, directory, log } = this.#options;
    await rm(this.#adminPath, { force: true });
    const process = await HaproxyProcess.start({ binary, directory, log });
    await recordProcess(directory, "haproxy", process.pid).catch((error: unknown) =>
      // As on a full disk. It serves nevertheless, and ends with us all but always.
      log.warn(
        { err: error },
        "HAProxy is not written down: should it outlive us, a later agent can't end it",
      ),
    );
    this.#serve(process, await this.#connect(process, () => true));
    return process;
  }

  #serve(process: HaproxyProcess, runtime: RuntimeSocket): void {
    this.#serving = {
      process,
      runtime,
      live: new LiveConfiguration(runtime),
    };
    void this.#tell();
  }

  /** Connects to the runtime socket of a worker that is right. */
  async #connect(
    process: HaproxyProcess,
    isRight: (info: string) => boolean,
  ): Promise<RuntimeSocket> {
    const deadline = performance.now() + LIMITS.ingressStartMs;
    while (!process.hasExited && performance.now() < deadline) {
      // Until the process listens there is no socket, or one that nobody reads from.
      const runtime = await RuntimeSocket.open(this.#adminPath).catch(() => undefined);
      const info = await runtime?.ask("show info").catch(() => undefined);
      if (runtime !== undefined && info !== undefined && isRight(info)) return runtime;
      runtime?.close();
      await wait(POLL_MS);
    }
    process.stop();
    const what = process.hasExited ? await process.exited : "silence";
    throw new EdgeError("ingress_unavailable", `HAProxy did not start: ${what}`);
  }
}

const POLL_MS = 10;

function pidOf(info: string): string | undefined {
  return /^Pid: (\d+)$/m.exec(info)?.[1];
}
