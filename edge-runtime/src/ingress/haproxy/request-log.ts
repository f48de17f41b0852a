import { once } from "node:events";
import { chmod, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "pino";
import { LIMITS } from "../../limits.ts";
import type { OnServed } from "../ingress.ts";
import { shareSocket } from "./haproxy-user.ts";
import { parseLogLine } from "./request-line.ts";

export interface RequestLogOptions {
  /** Where HAProxy writes its lines. What an earlier agent left there is removed. */
  readonly socketPath: string;
  /** Who else than the agent must be able to connect. */
  readonly groupId: number | undefined;
  /** The socket of a cell by the name that HAProxy has for it. */
  readonly socketPathOf: (cell: string) => string | undefined;
  readonly onServed: OnServed;
  readonly log: Logger;
}

/**
 * Reads what HAProxy tells of the requests that it served. It keeps its lines in a buffer of its own until
 * they are read, so this reads many at a time and seldom, and nothing is lost while the agent is busy.
 */
export class RequestLog {
  readonly #options: RequestLogOptions;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  /** That of the process which was started last. */
  #newest: Connection | undefined;

  static async listen(options: RequestLogOptions): Promise<RequestLog> {
    const { socketPath, groupId } = options;
    const log = new RequestLog(options);
    await rm(socketPath, { force: true });
    log.#server.listen(socketPath);
    await once(log.#server, "listening");
    if (groupId === undefined) await chmod(socketPath, 0o600);
    else await shareSocket(socketPath, groupId);
    return log;
  }

  private constructor(options: RequestLogOptions) {
    this.#options = options;
    // With less than a byte of room, a socket is read once, and again when that was taken: what comes
    // meanwhile stays with the kernel and HAProxy, and arrives together.
    this.#server = createServer({ highWaterMark: 1 }, (socket) => this.#accept(socket));
  }

  /** Requests with a cell that the newest process has told of, those that it had to drop included. */
  get count(): number {
    return this.#newest?.count ?? 0;
  }

  /** Reads everything as it comes from now on, and what waits at once. */
  hurry(): void {
    for (const connection of this.#connections) connection.hurry();
  }

  /** Reads what processes that have ended left, then closes. May be called twice. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    this.hurry();
    const timer = setTimeout(() => {
      for (const connection of this.#connections) connection.destroy();
    }, LIMITS.requestLogFlushMs);
    this.#server.close();
    await once(this.#server, "close");
    clearTimeout(timer);
  }

  #accept(socket: Socket): void {
    const connection = new Connection(socket, this.#options);
    this.#newest = connection;
    this.#connections.add(connection);
    socket.once("close", () => this.#connections.delete(connection));
  }
}

/** The lines of one process. */
class Connection {
  readonly #socket: Socket;
  readonly #options: RequestLogOptions;
  #rest = "";
  #timer: NodeJS.Timeout | undefined;
  /** How long the next lines wait for those that follow them. */
  #waitMs: number = LIMITS.requestLogMs;
  #isHurried = false;
  count = 0;

  constructor(socket: Socket, options: RequestLogOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.setEncoding("latin1");
    socket.on("readable", () => this.#readSoon());
    // The error is followed by `close`.
    socket.on("error", () => undefined);
    socket.on("close", () => clearTimeout(this.#timer));
  }

  /** From now on nothing waits. */
  hurry(): void {
    if (this.#isHurried) return;
    this.#isHurried = true;
    this.#waitMs = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#read();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  // To read a line takes half a microsecond; to be woken for it, forty times as long.
  #readSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#read();
    }, this.#waitMs);
  }

  #read(): void {
    const text = this.#socket.read() as string | null;
    if (text === null) return;
    this.#waitMs = this.#isHurried || text.length >= PIECE_BYTES ? 0 : LIMITS.requestLogMs;
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#take(line);
  }

  #take(text: string): void {
    const { socketPathOf, onServed, log } = this.#options;
    const line = parseLogLine(text);
    switch (line.kind) {
      case "served": {
        this.count += 1;
        const { cell, ...request } = line.request;
        const socketPath = cell === undefined ? undefined : socketPathOf(cell);
        return onServed({ ...request, socketPath });
      }
      case "refused":
        return onServed({ ...line.request, socketPath: undefined });
      case "passed-on":
        this.count += 1;
        return undefined;
      case "dropped":
        this.count += line.count;
        return log.error(
          { requests: line.count },
          "the agent was too busy to hear of these requests: they are missing from usage",
        );
      case "other":
        return undefined;
    }
  }
}

// A kernel's buffer is full with some 20 KiB of single lines: after so much there is more, in HAProxy's.
const PIECE_BYTES = 8 * 1024;
