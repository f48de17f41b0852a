import { spawn, type ChildProcess } from "node:child_process";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { z } from "zod";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { CELL_ENVIRONMENT, FILTER_DESCRIPTOR, INFO_DESCRIPTOR, type Launch } from "./sandbox.ts";

/** What bubblewrap tells on its info descriptor, as far as it is of use. */
const MonitorInfo = z.object({ "child-pid": z.number().int().positive() });

export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * A process that a sandbox started, as if it were a child of ours: its pid as the host sees it, its
 * signals, its end, whether or not a monitor stands between. Standard streams and descriptor 3 are pipes.
 */
export class ConfinedProcess {
  readonly pid: number;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Descriptor 3 of the process. */
  readonly control: Readable;
  /** Resolves when the process is gone and everything that it wrote was read. Never rejects. */
  readonly ended: Promise<ProcessEnd>;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, pid: number, ended: Promise<ProcessEnd>) {
    const [stdin, stdout, stderr, control] = child.stdio as unknown as Pipes;
    this.pid = pid;
    this.stdin = stdin;
    this.stdout = stdout;
    this.stderr = stderr;
    this.control = control;
    this.ended = ended;
    this.#child = child;
  }

  /** Resolves when the process runs. Rejected with `cell_failed` when it can't be started. */
  static async start(launch: Launch, directory: string): Promise<ConfinedProcess> {
    const child = spawn(launch.file, launch.args, {
      cwd: directory,
      env: CELL_ENVIRONMENT,
      stdio: ["pipe", "pipe", "pipe", "pipe", ...(launch.monitorFilter ? PIPES : [])],
      // A session of its own, so that Ctrl-C reaches the agent, which drains, and not its cells.
      detached: true,
      ...(launch.user === undefined ? {} : { uid: launch.user, gid: launch.user }),
    });
    const ended = endOf(child, launch.monitorFilter !== undefined);
    // The process may end before it has read its input: its end says so.
    for (const pipe of child.stdio) pipe?.on("error", () => undefined);
    await spawned(child, launch.file);
    const pid = launch.monitorFilter
      ? await monitoredPid(child, launch.monitorFilter)
      : (child.pid ?? 0);
    return new ConfinedProcess(child, pid, ended);
  }

  /** Asks the process to end. */
  terminate(): void {
    // Not the monitor: it would end at once, and the kernel would kill the process with it.
    this.#signal("SIGTERM");
  }

  /** Ends the process at once. */
  kill(): void {
    // Both, because what a monitor has only just started does not yet end with it.
    this.#signal("SIGKILL");
    this.#child.kill("SIGKILL");
  }

  #signal(signal: NodeJS.Signals): void {
    // Until its end was told, the pid is not another's: its parent tells as soon as it has taken note.
    if (this.#isGone) return;
    try {
      process.kill(this.pid, signal);
    } catch {
      // It is gone, and its parent is about to say so.
    }
  }

  get #isGone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}

const PIPES = ["pipe", "pipe"] as const;
// Pipes were asked for at spawn, so none of them is null.
type Pipes = readonly [Writable, Readable, Readable, Readable];

async function spawned(child: ChildProcess, file: string): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
  } catch (cause) {
    throw new EdgeError("cell_failed", `${file} can't be started`, { cause });
  }
}

/** Hands the monitor its filter and waits until it tells the pid; ends it when it does not. */
async function monitoredPid(child: ChildProcess, filter: Uint8Array): Promise<number> {
  // The types know five descriptors; these two were asked for at spawn.
  const stdio: ReadonlyArray<unknown> = child.stdio;
  (stdio[FILTER_DESCRIPTOR] as Writable).end(filter);
  const info = stdio[INFO_DESCRIPTOR] as Readable;
  const complaint: Buffer[] = [];
  const listen = (chunk: Buffer): unknown => complaint.push(chunk);
  child.stderr?.on("data", listen);
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMITS.sandboxSetupMs);
  try {
    let text = "";
    // The monitor closes the descriptor when it has written, or when it ends.
    for await (const chunk of info) text += String(chunk);
    return MonitorInfo.parse(JSON.parse(text))["child-pid"];
  } catch (cause) {
    child.kill("SIGKILL");
    const said = Buffer.concat(complaint).toString().trim().slice(0, LIMITS.cellOutputLineBytes);
    throw new EdgeError("cell_failed", `the sandbox did not start: ${said}`, { cause });
  } finally {
    clearTimeout(timer);
    child.stderr?.off("data", listen);
    child.stderr?.pause();
  }
}

function endOf(child: ChildProcess, isMonitored: boolean): Promise<ProcessEnd> {
  return new Promise((resolve) => {
    // "close" rather than "exit": by then everything that it wrote was read.
    child.once("close", (code, signal) => {
      resolve(isMonitored ? throughMonitor(code, signal) : { code, signal });
    });
    // Without a process there is no "close".
    child.once("error", () => {
      if (child.pid === undefined) resolve({ code: null, signal: null });
    });
  });
}

const SIGNALS = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]),
);

/** A monitor ends with 128 and the number of the signal that ended what it watched, as shells do. */
function throughMonitor(code: number | null, signal: NodeJS.Signals | null): ProcessEnd {
  const inner = SIGNALS.get((code ?? 0) - 128);
  return inner === undefined ? { code, signal } : { code: null, signal: inner };
}
