import type { LaunchedProcess } from "./launched-process.ts";
import type { Program } from "./launcher-messages.ts";
import { LauncherProcess } from "./launcher-process.ts";

/**
 * Starts processes by way of a small one of ours. A start copies what describes the memory of the process that
 * makes it, and stops that meanwhile: with 150 MB for 20 ms on a slow machine, with 450 MB for 90, and each page
 * that is written next costs a fault. Of an agent, or a control plane, that is noticed by every request.
 */
export class Launcher {
  #process: Promise<LauncherProcess> | undefined;
  readonly #listeners = new Set<(processes: number) => void>();

  /**
   * Resolves when the process runs. Rejects when it can't be started, or when the launcher ended meanwhile: the
   * next call starts another launcher. What runs when a launcher ends is ended.
   */
  async launch(program: Program): Promise<LaunchedProcess> {
    this.#process ??= this.#start();
    const launcher = await this.#process;
    return launcher.launch(program);
  }

  /** Calls back each time that a launcher ended before us, with how many processes end with it. Returns its end. */
  onEnd(listener: (processes: number) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #start(): Promise<LauncherProcess> {
    const forget = (): void => {
      if (this.#process === starting) this.#process = undefined;
    };
    const starting = LauncherProcess.start((processes) => {
      forget();
      for (const listener of this.#listeners) listener(processes);
    });
    starting.catch(forget);
    return starting;
  }
}

/** A process has one, as it has one parent; it runs from its first use on, for as long as the process. */
export const LAUNCHER = new Launcher();
