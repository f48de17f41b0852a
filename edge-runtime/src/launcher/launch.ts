import type { Socket } from "node:net";
import type { LaunchedProcess } from "./launched-process.ts";
import type { Descriptor, ProcessEnd } from "./launcher-messages.ts";

/** One start, of which the parts come over several ways and in any order. */
export class Launch {
  readonly #started = Promise.withResolvers<LaunchedProcess>();
  readonly #ended = Promise.withResolvers<ProcessEnd>();
  readonly #sockets: Array<Socket | undefined> = [];
  readonly #send: (signal: NodeJS.Signals, pid: number) => void;
  #missing: number;
  #pid: number | undefined;
  #isGone = false;

  constructor(
    descriptors: ReadonlyArray<Descriptor>,
    send: (signal: NodeJS.Signals, pid: number) => void,
  ) {
    this.#missing = descriptors.filter((each) => each === "socket").length;
    this.#send = send;
  }

  /** Resolves when the process runs and all its sockets are here. */
  get started(): Promise<LaunchedProcess> {
    return this.#started.promise;
  }

  connected(descriptor: number, socket: Socket): void {
    this.#sockets[descriptor] = socket;
    this.#missing -= 1;
    this.#settle();
  }

  ran(pid: number): void {
    this.#pid = pid;
    this.#settle();
  }

  failed(error: Error): void {
    for (const socket of this.#sockets) socket?.destroy();
    this.#started.reject(error);
  }

  /** `started` comes first, whichever way was the faster one. */
  gone(end: ProcessEnd): void {
    void this.#started.promise.then(
      // Whoever waits for the start finds time to listen.
      () => setImmediate(() => this.#readOut(end)),
      () => undefined,
    );
  }

  /** Its launcher is gone. With that, the kernel ends most: those that have a sandbox. */
  lost(error: Error): void {
    if (this.#pid !== undefined) end(this.#pid);
    if (this.#pid === undefined || this.#missing > 0) this.failed(error);
    this.gone({ code: null, signal: "SIGKILL" });
  }

  #readOut(end: ProcessEnd): void {
    this.#isGone = true;
    // What it was to read concerns nobody any more; what it has written is read to its end.
    this.#sockets[0]?.destroy();
    for (const socket of this.#sockets) socket?.resume();
    const closed = this.#sockets.map((socket) => closing(socket));
    void Promise.all(closed).then(() => this.#ended.resolve(end));
  }

  #settle(): void {
    const pid = this.#pid;
    if (pid === undefined || this.#missing > 0) return;
    this.#started.resolve({
      pid,
      sockets: this.#sockets,
      ended: this.#ended.promise,
      signal: (signal, of = pid) => {
        if (!this.#isGone) this.#send(signal, of);
      },
    });
  }
}

function closing(socket: Socket | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (socket === undefined || socket.closed) resolve();
    else socket.once("close", () => resolve());
  });
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}
