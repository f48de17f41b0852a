import { rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { closeServer } from "../http/close-server.ts";
import { LIMITS } from "../limits.ts";

/**
 * The service behind `caches`, on a unix socket that every cell finds as `cache.sock`. It keeps nothing:
 * each `match` misses, each `put` succeeds, each `delete` finds nothing, as the Cache API allows and as
 * Cloudflare does on its own `workers.dev` hosts. Without it these calls would throw.
 */
export class CacheFront {
  readonly socketPath: string;
  readonly #server: Server;

  private constructor(socketPath: string, server: Server) {
    this.socketPath = socketPath;
    this.#server = server;
  }

  static async listen(socketPath: string): Promise<CacheFront> {
    // A socket that an earlier agent left would refuse the address.
    await rm(socketPath, { force: true });
    const server = createServer(answer);
    boundConnections(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(socketPath, resolve);
    });
    return new CacheFront(socketPath, server);
  }

  /** May be called twice. */
  close(): Promise<void> {
    return closeServer(this.#server);
  }
}

/** Ends the connection whose last call was answered the longest ago when there are too many: all cells share them. */
function boundConnections(server: Server): void {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    const [first] = sockets;
    if (sockets.size > LIMITS.cacheConnectionsMax) first?.destroy();
  });
  server.on("request", (_, response: ServerResponse) => {
    const { socket } = response;
    response.once("finish", () => {
      if (socket !== null && sockets.delete(socket)) sockets.add(socket);
    });
  });
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  // The body is read to its end: workerd waits for that before it believes the answer.
  request.resume();
  request.once("end", () => {
    switch (request.method) {
      case "GET":
        response.writeHead(504, { "cf-cache-status": "MISS" }).end();
        return;
      case "PUT":
        response.writeHead(204).end();
        return;
      case "PURGE":
        response.writeHead(404).end();
        return;
      default:
        response.writeHead(405).end();
    }
  });
}
