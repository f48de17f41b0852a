import { constants } from "node:os";
import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { z } from "zod";
import { EdgeError } from "../errors.ts";
import type { LaunchedProcess } from "../launcher/launched-process.ts";
import { LAUNCHER } from "../launcher/launcher.ts";
import type { ProcessEnd } from "../launcher/launcher-messages.ts";
import { LIMITS } from "../limits.ts";
import { CELL_ENVIRONMENT, INFO_DESCRIPTOR, type Launch } from "./sandbox.ts";

/** What bubblewrap tells on its info descriptor, as far as it is of use. */
const MonitorInfo = z.object({ "child-pid": z.number().int().positive() });

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
  readonly #launched: LaunchedProcess;

  private constructor(
    launched: LaunchedProcess,
    { pid, ended }: Pick<ConfinedProcess, "pid" | "ended">,
  ) {
    const [stdin, stdout, stderr, control] = socketsOf(launched);
    this.pid = pid;
    this.stdin = stdin;
    this.stdout = stdout;
    this.stderr = stderr;
    this.control = control;
    this.ended = ended;
    this.#launched = launched;
  }

  /** Resolves when the process runs. Rejected with `cell_failed` when it can't be started. */
  static async start(launch: Launch, directory: string): Promise<ConfinedProcess> {
    const { monitorFilter } = launch;
    const launched = await launchConfined(launch, directory);
    if (monitorFilter === undefined) return new ConfinedProcess(launched, launched);
    const ended = launched.ended.then(throughMonitor);
    return new ConfinedProcess(launched, { pid: await monitoredPid(launched), ended });
  }

  /** Asks the process to end. */
  terminate(): void {
    // Not the monitor: it would end at once, and the kernel would kill the process with it.
    this.#launched.signal("SIGTERM", this.pid);
  }

  /** Ends the process at once. */
  kill(): void {
    // Both, because what a monitor has only just started does not yet end with it.
    this.#launched.signal("SIGKILL", this.pid);
    this.#launched.signal("SIGKILL");
  }
}

const STREAMS = ["socket", "socket", "socket", "socket"] as const;
type Streams = readonly [Socket, Socket, Socket, Socket, Socket];

/** Its streams, as they were asked for; the last one is there if it has a monitor. */
function socketsOf(launched: LaunchedProcess): Streams {
  return launched.sockets as unknown as Streams;
}

async function launchConfined(launch: Launch, directory: string): Promise<LaunchedProcess> {
  const { file, args, user, monitorFilter } = launch;
  try {
    return await LAUNCHER.launch({
      ...{ file, args, directory, environment: CELL_ENVIRONMENT },
      ...(user === undefined ? {} : { user }),
      // `INFO_DESCRIPTOR` and `FILTER_DESCRIPTOR` follow.
      descriptors: monitorFilter === undefined ? STREAMS : [...STREAMS, "socket", monitorFilter],
    });
  } catch (cause) {
    throw new EdgeError("cell_failed", `${file} can't be started`, { cause });
  }
}

/** Waits until the monitor tells the pid; ends it when it does not. */
async function monitoredPid(launched: LaunchedProcess): Promise<number> {
  const sockets = socketsOf(launched);
  const [, , stderr] = sockets;
  const complaint: Buffer[] = [];
  const listen = (chunk: Buffer): unknown => complaint.push(chunk);
  stderr.on("data", listen);
  const timer = setTimeout(() => launched.signal("SIGKILL"), LIMITS.sandboxSetupMs);
  try {
    let text = "";
    // The monitor closes the descriptor when it has written, or when it ends.
    for await (const chunk of sockets[INFO_DESCRIPTOR]) text += String(chunk);
    return MonitorInfo.parse(JSON.parse(text))["child-pid"];
  } catch (cause) {
    launched.signal("SIGKILL");
    const said = Buffer.concat(complaint).toString().trim().slice(0, LIMITS.cellOutputLineBytes);
    throw new EdgeError("cell_failed", `the sandbox did not start: ${said}`, { cause });
  } finally {
    clearTimeout(timer);
    // It goes on flowing, to whoever waited for the start. Paused, it would wait for more than a listener.
    stderr.off("data", listen);
  }
}

const SIGNALS = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]),
);

/** A monitor ends with 128 and the number of the signal that ended what it watched, as shells do. */
function throughMonitor({ code, signal }: ProcessEnd): ProcessEnd {
  const inner = SIGNALS.get((code ?? 0) - 128);
  return inner === undefined ? { code, signal } : { code: null, signal: inner };
}
