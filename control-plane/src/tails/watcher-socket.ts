import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { refuseUpgrade } from "../http/refuse-upgrade.ts";
import { LIMITS } from "../limits.ts";
import { closeFrame, FrameError, FrameReader, pingFrame, pongFrame, textFrame } from "./frames.ts";

/** The subprotocol that wrangler asks for, and without which it takes the connection for a failed one. */
const PROTOCOL = "trace-v1";
// RFC 6455, section 1.3.
const ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** The server's end of a watcher's WebSocket. What is sent to a watcher that does not read is dropped. */
export class WatcherSocket {
  readonly #socket: Duplex;
  readonly #reader = new FrameReader();
  #isOver = false;
  /** Whether something was heard since the last look. */
  #isHeard = true;

  private constructor(socket: Duplex, onEnd: () => void) {
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => this.#receive(bytes));
    // Reset by the other end, which `close` tells as well.
    socket.on("error", () => undefined);
    socket.on("end", () => socket.destroy());
    socket.on("close", () => {
      this.#isOver = true;
      onEnd();
    });
  }

  /**
   * Agrees to a handshake, and calls `onEnd` once, when the connection is gone. `undefined` when the request
   * is no handshake: it is answered then.
   */
  static accept(
    request: IncomingMessage,
    connection: { readonly socket: Duplex; readonly head: Buffer; readonly onEnd: () => void },
  ): WatcherSocket | undefined {
    const { socket, head, onEnd } = connection;
    const key = request.headers["sec-websocket-key"] ?? "";
    const isHandshake =
      request.method === "GET" &&
      /^websocket$/i.test(request.headers.upgrade ?? "") &&
      request.headers["sec-websocket-version"] === "13" &&
      /^[A-Za-z0-9+/]{22}==$/.test(key);
    if (!isHandshake) {
      refuseUpgrade(socket, "400 Bad Request");
      return undefined;
    }
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",");
    const isAgreed = offered.some((protocol) => protocol.trim() === PROTOCOL);
    const watcher = new WatcherSocket(socket, onEnd);
    socket.write(
      [
        "HTTP/1.1 101 Switching Protocols",
        "upgrade: websocket",
        "connection: upgrade",
        `sec-websocket-accept: ${createHash("sha1").update(`${key}${ACCEPT_GUID}`).digest("base64")}`,
        ...(isAgreed ? [`sec-websocket-protocol: ${PROTOCOL}`] : []),
        "\r\n",
      ].join("\r\n"),
    );
    if (head.length > 0) watcher.#receive(head);
    return watcher;
  }

  /** Returns whether the text is on its way; not when the watcher is gone, or too far behind. */
  send(text: string): boolean {
    if (this.#isOver || this.#socket.writableLength > LIMITS.tailBufferedBytesMax) return false;
    this.#socket.write(textFrame(text));
    return true;
  }

  /** Asks for a sign of life; ends the connection when there was none since the last time. */
  checkAlive(): void {
    if (!this.#isHeard) {
      this.#socket.destroy();
      return;
    }
    this.#isHeard = false;
    if (!this.#isOver) this.#socket.write(pingFrame());
  }

  /** Says goodbye and ends the connection. May be called twice. */
  close(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket.end(closeFrame(code, reason));
    // A watcher that is gone, or does not read, must not keep the connection.
    setTimeout(() => this.#socket.destroy(), LIMITS.tailCloseMs).unref();
  }

  /** Whoever asks much faster than it reads gets no answers. */
  #answer(ping: Buffer): void {
    if (this.#socket.writableLength > 2 * LIMITS.tailBufferedBytesMax) return;
    this.#socket.write(pongFrame(ping));
  }

  #receive(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#isHeard = true;
    try {
      for (const frame of this.#reader.read(bytes)) {
        if (frame.kind === "close") this.close(1000, "");
        else if (frame.kind === "ping") this.#answer(frame.payload);
      }
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.close(error.closeCode, error.message);
    }
  }
}
