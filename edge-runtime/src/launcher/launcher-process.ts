import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Launch } from "./launch.ts";
import type { LaunchedProcess } from "./launched-process.ts";
import {
  decodePreamble,
  PREAMBLE_BYTES,
  type Order,
  type Program,
  type Report,
} from "./launcher-messages.ts";

const MAIN = new URL("./launcher-main.ts", import.meta.url);
// What it has to keep is next to nothing, and each megabyte makes its starts slower.
const RUNTIME_FLAGS = ["--max-semi-space-size=1", "--max-old-space-size=64", "--no-warnings"];

/** Our end of one launcher, from its start to its end. */
export class LauncherProcess {
  readonly #child: ChildProcess;
  readonly #launches = new Map<number, Launch>();
  #nextId = 0;
  #hasEnded = false;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** `onEnd` is called when it has ended, with as many processes, and no more is to be asked of it. */
  static async start(onEnd: (processes: number) => void): Promise<LauncherProcess> {
    // Nobody else may reach it: what connects there is taken for the launcher.
    const directory = await mkdtemp(join(tmpdir(), "atoll-launcher-"));
    const server = createServer();
    try {
      const path = join(directory, "l.sock");
      server.listen(path);
      await once(server, "listening");
      const child = fork(MAIN, [path], {
        // It is no concern of a terminal, nor of whoever has an inspector at us; secrets are none of its.
        ...{ detached: true, execArgv: RUNTIME_FLAGS, env: {} },
        serialization: "advanced",
        stdio: ["ignore", "ignore", "inherit", "ipc"],
      });
      const launcher = new LauncherProcess(child);
      launcher.#listen(server);
      child.once("exit", () => {
        onEnd(launcher.#launches.size);
        launcher.#end(server);
        // It does so itself when we end before it.
        void rm(directory, { recursive: true, force: true });
      });
      await once(child, "spawn");
      return launcher;
    } catch (error) {
      // One that never ran has no end, and where none can be started many are tried.
      server.close();
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  async launch(program: Program): Promise<LaunchedProcess> {
    if (this.#hasEnded) throw new Error(LOST);
    const id = this.#nextId;
    this.#nextId += 1;
    const launch = new Launch(program.descriptors, (signal, pid) =>
      this.#send({ kind: "signal", id, signal, pid }),
    );
    this.#launches.set(id, launch);
    this.#hold();
    this.#send({ kind: "start", id, program });
    return launch.started;
  }

  #listen(server: Server): void {
    server.on("connection", (socket) => this.#accept(socket));
    server.unref();
    this.#child.on("message", (report: Report) => this.#hear(report)); // by our own program
    // What can't be sent is lost with the launcher, whose end says so.
    this.#child.on("error", () => undefined);
    this.#child.unref();
    this.#hold();
  }

  /** Reads what a socket is of, and not a byte more. */
  #accept(socket: Socket): void {
    const read = (): void => {
      const preamble = socket.read(PREAMBLE_BYTES) as Buffer | null; // of a stream of bytes
      if (preamble === null) return;
      socket.off("readable", read);
      const { id, descriptor } = decodePreamble(preamble);
      const launch = this.#launches.get(id);
      if (launch === undefined) socket.destroy();
      else launch.connected(descriptor, socket);
    };
    // The process may end before it has read its input: its end says so.
    socket.on("error", () => undefined);
    socket.on("readable", read);
  }

  #hear(report: Report): void {
    const launch = this.#launches.get(report.id);
    if (launch === undefined) return;
    switch (report.kind) {
      case "started":
        return launch.ran(report.pid);
      case "failed":
        launch.failed(new Error(report.reason));
        return this.#forget(report.id);
      case "ended":
        launch.gone({ code: report.code, signal: report.signal });
        // Its sockets may still be on their way.
        void launch.started.then(
          () => this.#forget(report.id),
          () => undefined,
        );
        return;
    }
  }

  #forget(id: number): void {
    this.#launches.delete(id);
    this.#hold();
  }

  /** We may end while it does nothing for us, and not while it does. */
  #hold(): void {
    if (this.#launches.size > 0) this.#child.channel?.ref();
    else this.#child.channel?.unref();
  }

  #send(order: Order): void {
    if (!this.#hasEnded) this.#child.send(order, () => undefined);
  }

  #end(server: Server): void {
    this.#hasEnded = true;
    server.close();
    for (const launch of this.#launches.values()) launch.lost(new Error(LOST));
    this.#launches.clear();
  }
}

const LOST = "the process that starts others has ended";
