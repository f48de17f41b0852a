import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import type { Logger } from "pino";
import { readLines } from "../../cells/output-lines.ts";
import { LIMITS } from "../../limits.ts";
import { PATHS } from "./haproxy-paths.ts";

const INSTALLED = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"];
/** The first release with servers that come and go over the runtime socket, and stay in support. */
const VERSION_MIN = [2, 6] as const;
const SETPRIV = "/usr/bin/setpriv";
// It would have two descriptors for each client at any time, which it is not given on purpose.
const KNOWN_ALERT = "FD limit";

/** Where a HAProxy is that is new enough, or why there is none. */
export type HaproxyBinary =
  | { readonly kind: "found"; readonly path: string; readonly version: string }
  | { readonly kind: "missing"; readonly reason: string };

export async function findHaproxy(
  paths: ReadonlyArray<string> = INSTALLED,
): Promise<HaproxyBinary> {
  const path = paths.find((candidate) => existsSync(candidate));
  if (path === undefined) return { kind: "missing", reason: "haproxy is not installed" };
  const { stdout } = await promisify(execFile)(path, ["-vv"]).catch(() => ({ stdout: "" }));
  const [, version, major, minor] = /version ((\d+)\.(\d+)\S*)/.exec(stdout) ?? [];
  if (version === undefined) return { kind: "missing", reason: `${path} tells no version` };
  const [majorMin, minorMin] = VERSION_MIN;
  const isNew =
    Number(major) > majorMin || (Number(major) === majorMin && Number(minor) >= minorMin);
  if (!isNew) {
    const needed = VERSION_MIN.join(".");
    return { kind: "missing", reason: `${path} is version ${version}; ${needed} is needed` };
  }
  if (!stdout.includes("+LUA")) return { kind: "missing", reason: `${path} is built without Lua` };
  return { kind: "found", path, version };
}

/** One run of HAProxy: a master process and, below it, the one that serves. */
export class HaproxyProcess {
  readonly #child: ChildProcess;
  /** Resolves with how the master ended; its worker has ended then, too. */
  readonly exited: Promise<string>;

  static async start(options: {
    readonly binary: string;
    /** Where `writeHaproxyFiles` has written. */
    readonly directory: string;
    readonly log: Logger;
  }): Promise<HaproxyProcess> {
    const command = [
      options.binary,
      ...["-W", "-S", `unix@${PATHS.master}`],
      ...["-f", PATHS.config],
    ];
    // When the agent is killed, the kernel ends the master, and without it the worker ends itself.
    const [file = "", ...rest] = existsSync(SETPRIV)
      ? [SETPRIV, "--pdeathsig", "TERM", ...command]
      : command;
    const child = spawn(file, rest, {
      cwd: options.directory,
      stdio: ["ignore", "pipe", "pipe"],
      env: {},
    });
    const started = new HaproxyProcess(child, options.log);
    await once(child, "spawn");
    return started;
  }

  private constructor(child: ChildProcess, log: Logger) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      readLines(stream, LIMITS.cellOutputLineBytes, (text) => {
        // It tells of every server that comes and goes; only alerts concern anybody else.
        const isAlarming = text.startsWith("[ALERT]") && !text.includes(KNOWN_ALERT);
        log[isAlarming ? "warn" : "debug"]({ text }, "HAProxy output");
      });
    }
    this.exited = new Promise((resolve) => {
      child.once("exit", (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Ends listening at once, and the processes when the last request is answered. */
  finish(): void {
    this.#child.kill("SIGUSR1");
  }

  /** Starts a worker with the file's configuration and lets the one before finish. */
  reload(): void {
    this.#child.kill("SIGUSR2");
  }

  stop(): void {
    this.#child.kill("SIGTERM");
  }
}
