import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** A server that accepts every connection, and then says what it is told to, or nothing, for ever. */
export class SilentServer {
  /** How many were made. */
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  static async start(
    options: { readonly beginning?: string; readonly port?: number } = {},
  ): Promise<SilentServer> {
    const { beginning = "", port = 0 } = options;
    const server = createServer();
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return new SilentServer(server, beginning);
  }

  private constructor(server: Server, beginning: string) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      // Whoever gives it up resets it.
      socket.on("error", () => {});
      socket.once("data", () => socket.write(beginning));
      socket.resume();
    });
  }

  get endpoint(): string {
    const { port } = this.#server.address() as AddressInfo; // not of a pipe
    return `http://127.0.0.1:${port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
