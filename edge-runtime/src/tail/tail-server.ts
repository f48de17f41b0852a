import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Logger } from "pino";
import { HEADERS } from "../config/cell-interface.ts";
import { closeServer } from "../http/close-server.ts";
import { LIMITS } from "../limits.ts";
import { CellEvents } from "./cell-events.schemas.ts";
import type { TailSource } from "./tail-capabilities.ts";

export interface TailServerOptions {
  readonly socketPath: string;
  readonly resolveCapability: (capability: string) => TailSource | undefined;
  readonly onEvents: (source: TailSource, told: CellEvents) => void;
  readonly log: Logger;
}

/** Where cells tell what happened to their watched workers. */
export class TailServer {
  readonly socketPath: string;
  readonly #options: TailServerOptions;
  readonly #server: Server;

  private constructor(options: TailServerOptions) {
    this.#options = options;
    this.socketPath = options.socketPath;
    this.#server = createServer((request, response) => {
      this.#take(request).then(
        (status) => answer(response, status),
        (error: unknown) => {
          options.log.warn({ err: error }, "a cell tells of its workers what can't be read");
          answer(response, 400);
        },
      );
    });
    this.#server.maxConnections = LIMITS.tailConnectionsMax;
  }

  /** Resolves when it listens. */
  static async listen(options: TailServerOptions): Promise<TailServer> {
    const tails = new TailServer(options);
    // A process that was killed leaves its socket behind.
    await rm(options.socketPath, { force: true });
    tails.#server.listen({ path: options.socketPath });
    await once(tails.#server, "listening");
    return tails;
  }

  /** May be called twice. */
  close(): Promise<void> {
    return closeServer(this.#server);
  }

  /** Resolves with the status of the answer. */
  async #take(request: IncomingMessage): Promise<number> {
    const capability = request.headers[HEADERS.tail]?.toString() ?? "";
    const source = this.#options.resolveCapability(capability);
    if (source === undefined) return 403;
    const body = await readBounded(request);
    if (body === undefined) return 413;
    this.#options.onEvents(source, CellEvents.parse(JSON.parse(body)));
    return 204;
  }
}

function answer(response: ServerResponse, status: number): void {
  // What was not read of a request would be taken for the next one.
  response.writeHead(status, status === 204 ? {} : { connection: "close" }).end();
}

async function readBounded(request: IncomingMessage): Promise<string | undefined> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > LIMITS.tailBodyBytesMax) return undefined;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}
