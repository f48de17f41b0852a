import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { EdgeErrorCode } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";

/** What a connection needs of an exchange on it. */
export interface Refusable {
  refuse(code: EdgeErrorCode): void;
  /** Ends it at once. */
  cut(): void;
}

interface InFlight {
  readonly exchange: Refusable;
  readonly response: ServerResponse;
}

/** A client's connection and the requests on it that are not answered yet. */
export class ClientConnection {
  readonly #socket: Socket;
  /** In the order of arrival. An array for the reason given at `CellLink`. */
  readonly #inFlight: InFlight[] = [];
  #isRefused = false;
  /** A head that was not sound arrived on it: whatever follows is nobody's request. */
  isOver = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("end", () => this.#onHalfClosed());
  }

  /** More requests wait for their turn than any real client sends ahead. */
  get isFlooding(): boolean {
    return this.#inFlight.length >= LIMITS.pipelinedRequestsMax;
  }

  begin(exchange: Refusable, response: ServerResponse): void {
    const inFlight = { exchange, response };
    this.#inFlight.push(inFlight);
    response.on("close", () => {
      this.#inFlight.splice(this.#inFlight.indexOf(inFlight), 1);
    });
  }

  /**
   * Ends the connection after what arrived on it made no sense. With a single request in flight, the
   * nonsense was its body, and it is answered for that; with several, the answers before it would be
   * garbled, so all are cut off.
   */
  refuseCurrent(code: EdgeErrorCode): "nothing-in-flight" | "refused" {
    if (this.#isRefused) return "refused";
    this.#isRefused = true;
    if (this.#inFlight.length === 0) return "nothing-in-flight";
    const [current] = this.#inFlight;
    if (this.#inFlight.length > 1 || current === undefined) {
      this.destroy();
      return "refused";
    }
    const { exchange, response } = current;
    response.shouldKeepAlive = false;
    exchange.refuse(code);
    return "refused";
  }

  /**
   * Ends the connection, and all that is in flight on it, where it asks for something else than HTTP with
   * requests before that. Node has let go of the socket then: responses that wait for their turn on it would
   * never hear of its end. Returns whether there were any.
   */
  endRequests(): boolean {
    if (this.#inFlight.length === 0) return false;
    for (const { exchange } of this.#inFlight.slice()) exchange.cut();
    this.destroy();
    return true;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /**
   * A client that ended its sending side may still read (`nc` does so), or may be gone altogether (a
   * closed browser tab): the first sign is the same. It is waited on while its answer moves, because a
   * client that is gone resets the connection when something is written to it.
   */
  #onHalfClosed(): void {
    let bytesWritten = this.#socket.bytesWritten;
    const timer = setInterval(() => {
      if (this.#socket.bytesWritten === bytesWritten) this.destroy();
      bytesWritten = this.#socket.bytesWritten;
    }, LIMITS.halfCloseGraceMs);
    this.#socket.once("close", () => clearInterval(timer));
  }
}

/** What to answer to an error that the HTTP parser found; `undefined` when nobody is there to answer. */
export function codeOfClientError(error: NodeJS.ErrnoException): EdgeErrorCode | undefined {
  switch (error.code) {
    case "ECONNRESET":
    case "EPIPE":
      return undefined;
    case "HPE_HEADER_OVERFLOW":
      return "request_head_too_large";
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return "request_timeout";
    default:
      return "request_invalid";
  }
}
