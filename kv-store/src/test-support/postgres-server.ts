import { execFile, execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { globSync, readdirSync, readFileSync } from "node:fs";
import { chmod, chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";

const PORT = 5432;
const START_MS = 60_000;
const USER = "atoll";

/**
 * A PostgreSQL server of its own: in a fresh directory, on a unix socket, syncing to the disk as one that
 * is used in earnest. It needs Debian's `postgresql`, which `npm test` installs, and runs as its user when
 * the tests run as root, because it refuses root.
 */
export class PostgresServer {
  /** Where its socket is. */
  readonly directory: string;
  readonly #programs: string;
  readonly #identity: { readonly uid?: number; readonly gid?: number };
  #process: ChildProcess | undefined;
  #databases = 0;

  static async start(): Promise<PostgresServer> {
    const [program] = globSync("/usr/lib/postgresql/*/bin/postgres").toSorted().toReversed();
    if (program === undefined) throw new Error("PostgreSQL is missing: apt-get install postgresql");
    const server = new PostgresServer(
      await mkdtemp(join(tmpdir(), "atoll-pg-")),
      join(program, ".."),
    );
    await server.#create();
    await server.restart();
    return server;
  }

  private constructor(directory: string, programs: string) {
    this.directory = directory;
    this.#programs = programs;
    const isRoot = process.getuid?.() === 0;
    this.#identity = isRoot ? { uid: idOf("-u"), gid: idOf("-g") } : {};
  }

  /** A new database of this server. */
  async createDatabase(): Promise<string> {
    this.#databases += 1;
    const name = `test_${this.#databases}`;
    await this.query("postgres", `CREATE DATABASE ${name}`);
    return name;
  }

  /** The address of a database, or of the same one behind a socket in another directory. */
  url(database: string, directory = this.directory): string {
    return `postgres://${USER}@${encodeURIComponent(directory)}:${PORT}/${database}`;
  }

  /** Runs statements on a connection of its own, and returns the rows of the last one. */
  async query(database: string, text: string): Promise<Array<Record<string, unknown>>> {
    const client = new Client({ connectionString: this.url(database) });
    client.on("error", () => {});
    try {
      await client.connect();
      const result: unknown = await client.query(text);
      const results = [result].flat() as Array<{ rows: Array<Record<string, unknown>> }>; // several for several statements
      return results.at(-1)?.rows ?? [];
    } finally {
      await client.end();
    }
  }

  /** Starts it again, after `kill`, and resolves when it answers. */
  async restart(): Promise<void> {
    const settings = { fsync: "on", listen_addresses: "", unix_socket_directories: this.directory };
    const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    // Whatever becomes of the tests, their server ends with them.
    const server = spawn(
      "setpriv",
      [
        ...["--pdeathsig", "QUIT", ...this.#identityOptions(), join(this.#programs, "postgres")],
        ...["-D", join(this.directory, "data"), ...options],
      ],
      { stdio: "ignore" },
    );
    this.#process = server;
    const deadline = Date.now() + START_MS;
    for (;;) {
      try {
        await this.query("postgres", "SELECT 1");
        return;
      } catch (error) {
        if (server.exitCode !== null || Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  /** Ends all its processes at once, as a power cut would, and resolves when they are gone. */
  async kill(): Promise<void> {
    const server = this.#process;
    if (server?.pid === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, "exit");
    const processes = [server.pid, ...childrenOf(server.pid)];
    for (const pid of processes) killIfThere(pid);
    await exited;
    // The next server refuses to start while one of them holds its memory.
    while (processes.some(isThere)) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Ends it and removes its directory. */
  async remove(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true });
  }

  /** As whom `setpriv` runs a program: it has to change users before it asks for the signal. */
  #identityOptions(): string[] {
    const { uid, gid } = this.#identity;
    if (uid === undefined || gid === undefined) return [];
    return ["--reuid", `${uid}`, "--regid", `${gid}`, "--clear-groups"];
  }

  async #create(): Promise<void> {
    const { uid, gid } = this.#identity;
    if (uid !== undefined && gid !== undefined) await chown(this.directory, uid, gid);
    await chmod(this.directory, 0o755);
    const options = ["--auth=trust", `--username=${USER}`, "--encoding=UTF8", "--no-locale"];
    await promisify(execFile)(
      join(this.#programs, "initdb"),
      ["-D", join(this.directory, "data"), "--no-sync", ...options],
      { cwd: this.directory, ...this.#identity },
    );
  }
}

function idOf(option: "-u" | "-g"): number {
  return Number(execFileSync("id", [option, "postgres"], { encoding: "utf8" }));
}

function childrenOf(parent: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => parentOf(pid) === parent);
}

function parentOf(pid: number): number | undefined {
  try {
    // Behind the name in brackets, which may have any character: the state, and the parent.
    const [, parent] = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/.*\) /s, "").split(" ");
    return Number(parent);
  } catch {
    return undefined; // gone meanwhile
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone by itself: that is what was wanted.
  }
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
