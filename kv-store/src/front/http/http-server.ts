import { rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import type { Clock } from "../../clock.ts";
import { LIMITS } from "../../limits.ts";
import { HttpConnection, type HttpHandler } from "./http-connection.ts";

/** Listens on a unix socket. An idle connection lives as long as its cell: closing it could cross a request. */
export class HttpServer {
  readonly #server: Server;
  readonly #connections = new Set<HttpConnection>();

  readonly #clock: Clock;
  #stopWatch = (): void => undefined;

  constructor(parts: { readonly handler: HttpHandler; readonly clock: Clock }) {
    this.#clock = parts.clock;
    this.#server = createServer((socket) => {
      const connection = new HttpConnection(socket, parts);
      this.#connections.add(connection);
      socket.on("close", () => this.#connections.delete(connection));
    });
  }

  /** Resolves when it listens. A socket that an earlier run left at the path is replaced. */
  async listen(path: string): Promise<void> {
    await rm(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(path, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
    this.#stopWatch = this.#clock.every(LIMITS.frontWatchMs, () => {
      for (const connection of this.#connections) connection.destroyIfStuck();
    });
  }

  /** Stops listening and ends every connection. May be called twice. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    this.#stopWatch();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections) connection.destroy();
    await closed;
  }
}
