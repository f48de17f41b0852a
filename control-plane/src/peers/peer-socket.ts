import type { Logger } from "pino";
import { WebSocket } from "ws";
import type { z } from "zod";
import { decodeMessage, encodeMessage } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";

/** One end of a connection between two control planes. Its loss is noticed within two pings. */
export class PeerSocket<Schema extends z.ZodType> {
  readonly #socket: WebSocket;
  readonly #heartbeat: NodeJS.Timeout;
  #isHeard = true;

  constructor(
    socket: WebSocket,
    options: {
      /** What the other end says. */
      readonly schema: Schema;
      readonly onMessage: (message: z.output<Schema>) => void;
      /** Called once. */
      readonly onEnd: () => void;
      readonly log: Logger;
    },
  ) {
    const { schema, onMessage, onEnd, log } = options;
    this.#socket = socket;
    this.#heartbeat = setInterval(() => this.#checkAlive(), LIMITS.linkPingMs);
    socket.on("pong", () => (this.#isHeard = true));
    socket.on("message", (data: Buffer) => {
      try {
        onMessage(decodeMessage(schema, data));
      } catch (error) {
        log.error({ err: error }, "cutting another control plane that breaks the contract");
        socket.terminate();
      }
    });
    socket.on("error", (error) => log.debug({ err: error }, "link of control planes failed"));
    socket.on("close", () => {
      clearInterval(this.#heartbeat);
      onEnd();
    });
  }

  /** Bytes that wait for the other end. */
  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** Does nothing unless the connection is open. */
  send(message: unknown): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(encodeMessage(message));
  }

  /** Ends the connection, open or not. May be called twice. */
  close(): void {
    this.#socket.terminate();
  }

  #checkAlive(): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return; // a handshake has a time limit of its own
    if (!this.#isHeard) return this.#socket.terminate();
    this.#isHeard = false;
    this.#socket.ping();
    return undefined;
  }
}
