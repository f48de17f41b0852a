import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { QUIET_WRANGLER } from "./atoll.ts";
import { eventually } from "./eventually.ts";

/** A command that serves a project until it is stopped. */
export interface DevProcess {
  readonly pid: number;
  /** Everything that it printed until now. */
  output(): string;
  /** Ends it as Ctrl-C does. Fails when a process that it started is left. May be called twice. */
  stop(): Promise<void>;
}

/** Starts a script of Node; resolves when it says that it is ready, as wrangler's server does. */
export async function startDevProcess(options: {
  readonly script: string;
  readonly arguments: ReadonlyArray<string>;
  readonly directory: string;
  readonly environment?: Readonly<Record<string, string>>;
}): Promise<DevProcess> {
  const child = spawn(process.execPath, [options.script, ...options.arguments], {
    cwd: options.directory,
    env: { ...process.env, ...QUIET_WRANGLER, ...options.environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const pid = child.pid ?? 0;
  const pieces: string[] = [];
  child.stdout.on("data", (piece: Buffer) => pieces.push(piece.toString()));
  child.stderr.on("data", (piece: Buffer) => pieces.push(piece.toString()));
  const output = (): string => pieces.join("");
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const started = await descendantsOf(pid);
    const exited = once(child, "exit");
    child.kill("SIGINT");
    await exited;
    for (const each of started) {
      await eventually(() => isGone(each), {
        what: `process ${each} of ${options.script} is gone`,
      });
    }
  };
  await eventually(
    () => {
      if (child.exitCode !== null) throw new Error(`${options.script} ended:\n${output()}`);
      return output().includes("Ready on");
    },
    { what: `${options.script} serves ${options.directory}` },
  ).catch(async (error: unknown) => {
    await stop();
    throw new Error(`${options.script} did not get ready:\n${output()}`, { cause: error });
  });
  return { pid, output, stop };
}

async function descendantsOf(pid: number): Promise<ReadonlyArray<number>> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const direct = children.trim().split(" ").filter(Boolean).map(Number);
  const further = await Promise.all(direct.map(descendantsOf));
  return [...direct, ...further.flat()];
}

/** Whether a process runs no more; one that only waits to be reaped is gone. */
async function isGone(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return status === "" || /\) Z /.test(status);
}
