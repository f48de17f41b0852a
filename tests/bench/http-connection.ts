import { connect, type Socket } from "node:net";

export interface HttpAnswer {
  readonly status: number;
  /** Whether it waited for the start of a cell. */
  readonly isCold: boolean;
}

interface PendingAnswer {
  readonly resolve: (answer: HttpAnswer) => void;
  readonly reject: (error: Error) => void;
}

// An answer that takes this long is counted as failed: a stretch of load ends soon after its bound.
const ANSWER_MS_MAX = 5_000;
const HEAD_END = "\r\n\r\n";
const LAST_CHUNK = "\r\n0\r\n\r\n";

/**
 * One connection that sends the same request again and again, one at a time, and reads no more of an
 * answer than it must. A client library costs as much CPU as the servers that are measured.
 */
export class HttpConnection implements Disposable {
  readonly #address: { readonly host: string; readonly port: number };
  readonly #request: string;
  #socket: Socket | undefined;
  #received = "";
  #pending: PendingAnswer | undefined;

  /** Connects when it is first used, and again after the server has closed. */
  constructor(options: {
    readonly url: string;
    readonly host: string;
    readonly headers: ReadonlyArray<string>;
  }) {
    const { hostname, port, pathname } = new URL(options.url);
    const lines = [`GET ${pathname} HTTP/1.1`, `host: ${options.host}`, ...options.headers];
    this.#address = { host: hostname, port: Number(port) };
    this.#request = `${lines.join("\r\n")}\r\n\r\n`;
  }

  /** Rejected when the connection ends before the answer does. Not to be called before the last one ended. */
  get(): Promise<HttpAnswer> {
    this.#socket ??= this.#connect();
    this.#socket.write(this.#request);
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
    });
  }

  [Symbol.dispose](): void {
    this.#socket?.destroy();
  }

  #connect(): Socket {
    const socket = connect({ ...this.#address, noDelay: true });
    let failure = new Error("the server closed the connection");
    this.#received = "";
    socket.setEncoding("latin1");
    socket.setTimeout(ANSWER_MS_MAX, () => socket.destroy(new Error("the answer is late")));
    socket.on("data", (piece: string) => this.#receive(piece));
    socket.on("error", (error) => {
      failure = error;
    });
    socket.on("close", () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#pending?.reject(failure);
      this.#pending = undefined;
    });
    return socket;
  }

  #receive(piece: string): void {
    this.#received += piece;
    const headEnd = this.#received.indexOf(HEAD_END);
    if (headEnd === -1) return;
    const head = this.#received.slice(0, headEnd).toLowerCase();
    if (!isWhole(head, this.#received, headEnd + HEAD_END.length)) return;
    this.#received = "";
    const status = Number(head.slice("http/1.1 ".length, "http/1.1 200".length));
    this.#pending?.resolve({ status, isCold: head.includes("\r\nx-atoll-cold:") });
    this.#pending = undefined;
    if (!head.includes("\r\nconnection: close")) return;
    this.#socket?.destroy();
    this.#socket = undefined;
  }
}

/** Whether an answer that begins with `head` has arrived to its end. */
function isWhole(head: string, received: string, bodyStart: number): boolean {
  const length = /\r\ncontent-length: (\d+)/.exec(head)?.[1];
  if (length !== undefined) return received.length >= bodyStart + Number(length);
  // The chunk of no length may be the only one: then its line end is that of the head.
  return received.endsWith(LAST_CHUNK) && received.length >= bodyStart + LAST_CHUNK.length - 2;
}
