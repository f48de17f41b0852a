import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { z } from "zod";
import { HEALTH_SOCKET } from "../config/cell-interface.ts";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Cell, CellExit, CellSpec } from "./cell-host.ts";
import { readLines } from "./output-lines.ts";
import type { Sandbox } from "./sandbox.ts";
import { recordProcess, removeCell } from "./stale-cells.ts";

/** One line that a cell wrote. workerd writes JSON on both streams. */
export interface CellLine {
  readonly cell: string;
  readonly stream: "stdout" | "stderr";
  readonly text: string;
}

export interface WorkerdProcessOptions {
  readonly workerdPath: string;
  readonly runDirectory: string;
  readonly sandbox: Sandbox;
  readonly id: string;
  readonly startMsMax: number;
  readonly onLine: (line: CellLine) => void;
}

/** A line on the control descriptor; workerd may learn to write other events, which are ignored. */
const ListenEvent = z.object({ event: z.literal("listen"), socket: z.string() });

/**
 * One workerd process and its directory, first as a zygote that waits for its config on stdin, then as
 * a cell. It is used once.
 */
export class WorkerdProcess implements Cell {
  readonly id: string;
  readonly directory: string;
  readonly exited: Promise<CellExit>;
  readonly #options: WorkerdProcessOptions;
  readonly #child: ChildProcess;
  /** Sockets that listen, as far as the control descriptor told. */
  readonly #listening = new Set<string>();
  #stderrTail = "";
  #startMs = 0;
  #onListening: () => void = () => undefined;
  #isStopping = false;

  private constructor(options: WorkerdProcessOptions, child: ChildProcess) {
    this.#options = options;
    this.id = options.id;
    this.directory = join(options.runDirectory, options.id);
    this.#child = child;
    this.#readOutput();
    this.exited = this.#waitForExit();
  }

  /** Starts a zygote. Rejects when the program can't be started at all. */
  static async spawn(options: WorkerdProcessOptions): Promise<WorkerdProcess> {
    const directory = join(options.runDirectory, options.id);
    await mkdir(join(directory, "sites"), { recursive: true, mode: 0o700 });
    // Empty for ever: the health socket answers with its listing.
    await mkdir(join(directory, HEALTH_SOCKET), { mode: 0o700 });
    const args = ["serve", "--experimental", "--binary", "-", "--control-fd=3"];
    const command = options.sandbox.wrap({ file: options.workerdPath, args }, directory);
    const child = spawn(command.file, command.args, {
      cwd: directory,
      // Nothing of the agent's environment concerns a cell, and some of it is secret.
      env: {},
      stdio: ["pipe", "pipe", "pipe", "pipe"],
      // A session of its own, so that Ctrl-C reaches the agent, which drains, and not its cells.
      detached: true,
    });
    const zygote = new WorkerdProcess(options, child);
    try {
      await new Promise<void>((resolve, reject) => {
        child.once("spawn", resolve);
        child.once("error", reject);
      });
    } catch (cause) {
      await removeCell(options.runDirectory, options.id);
      throw new EdgeError("cell_failed", `${command.file} can't be started`, { cause });
    }
    await recordProcess(options.runDirectory, options.id, zygote.pid);
    return zygote;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get startMs(): number {
    return this.#startMs;
  }

  socketPath(name: string): string {
    return join(this.directory, `${name}.sock`);
  }

  /**
   * Turns the zygote into a cell. `begunMs` is when the start began, on the clock of `performance`.
   * Rejected with `cell_failed` or `cell_start_timeout`, and then the process is gone.
   */
  async serve(spec: CellSpec, begunMs: number): Promise<void> {
    await this.#furnish(spec);
    this.#child.stdin?.end(spec.config);
    const outcome = await this.#started(spec.sockets);
    this.#startMs = performance.now() - begunMs;
    if (outcome === "listening") return;
    const exit = await this.kill();
    if (outcome === "ended") throw new CellStartError(exit);
    const { startMsMax } = this.#options;
    throw new EdgeError("cell_start_timeout", `a cell did not listen within ${startMsMax} ms`);
  }

  async stop(): Promise<CellExit> {
    if (!this.#isStopping) {
      this.#isStopping = true;
      this.#child.kill("SIGTERM");
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), LIMITS.cellStopMs);
      void this.exited.then(() => clearTimeout(timer));
    }
    return this.exited;
  }

  /** Ends the process without asking it first: right for one that has not served yet. */
  async kill(): Promise<CellExit> {
    this.#isStopping = true;
    this.#child.kill("SIGKILL");
    return this.exited;
  }

  async #furnish(spec: CellSpec): Promise<void> {
    await Promise.all([
      ...spec.sites.map((site, index) => symlink(site, join(this.directory, "sites", `${index}`))),
      ...Object.entries(spec.services).map(([name, path]) =>
        symlink(path, join(this.directory, name)),
      ),
    ]);
  }

  async #started(sockets: ReadonlyArray<string>): Promise<"listening" | "ended" | "late"> {
    const { promise, resolve } = Promise.withResolvers<"listening" | "ended" | "late">();
    this.#onListening = () => {
      if (sockets.every((name) => this.#listening.has(name))) resolve("listening");
    };
    this.#onListening();
    void this.exited.then(() => resolve("ended"));
    const deadline = setTimeout(() => resolve("late"), this.#options.startMsMax);
    try {
      return await promise;
    } finally {
      clearTimeout(deadline);
    }
  }

  #readOutput(): void {
    const [stdin, stdout, stderr, control] = this.#child.stdio as unknown as Pipes;
    // The process may end before it has read its config: its exit says so.
    stdin.on("error", () => undefined);
    readLines(control, LIMITS.cellControlLineBytes, (line) => this.#takeControlLine(line));
    readLines(stdout, LIMITS.cellOutputLineBytes, (text) => {
      this.#options.onLine({ cell: this.id, stream: "stdout", text });
    });
    readLines(stderr, LIMITS.cellOutputLineBytes, (text) => {
      this.#stderrTail = `${this.#stderrTail}${text}\n`.slice(-LIMITS.cellOutputTailBytes);
      this.#options.onLine({ cell: this.id, stream: "stderr", text });
    });
  }

  #takeControlLine(line: string): void {
    const event = ListenEvent.safeParse(parseJson(line));
    if (!event.success) return;
    this.#listening.add(event.data.socket);
    this.#onListening();
  }

  async #waitForExit(): Promise<CellExit> {
    const ended = await new Promise<Pick<CellExit, "code" | "signal">>((resolve) => {
      // "close" rather than "exit": by then everything that it wrote was read.
      this.#child.once("close", (code, signal) => resolve({ code, signal }));
    });
    // What can't be removed now goes at the next start, with everything else in the run directory.
    await removeCell(this.#options.runDirectory, this.id).catch(() => undefined);
    return { ...ended, stderrTail: this.#stderrTail };
  }
}

/** `cell_failed` with the exit of the process that should have become a cell. */
export class CellStartError extends EdgeError {
  readonly exit: CellExit;

  constructor(exit: CellExit) {
    const end = exit.signal ?? `status ${exit.code}`;
    super("cell_failed", `a cell ended with ${end} before it listened: ${exit.stderrTail.trim()}`);
    this.exit = exit;
  }
}

// Four pipes were asked for at spawn, so none of them is null.
type Pipes = readonly [Writable, Readable, Readable, Readable];

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // A line that is not JSON is no event of ours.
    return undefined;
  }
}
