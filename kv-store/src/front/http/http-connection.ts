import type { Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import type { Clock } from "../../clock.ts";
import { KvError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import {
  encodeAnswer,
  encodeHead,
  type Answer,
  type PlainAnswer,
  type StreamedBody,
} from "./answer.ts";
import { RequestBody } from "./request-body.ts";
import { parseHead, type RequestHead } from "./request-head.ts";

/** One request, to be answered once. */
export interface Exchange {
  readonly head: RequestHead;
  readonly body: RequestBody;
  /**
   * Sends the answer, after the body has arrived: a client that is still sending would see a broken connection
   * instead. Resolves when it was handed to the system, or is not wanted any more because the client has gone;
   * `undefined` when that is so at once. A streamed body that fails, or has another size, ends the connection, so
   * that nobody takes it for whole; then this is rejected with the reason.
   */
  readonly answer: (answer: Answer) => Promise<void> | undefined;
}

/** What the server does with requests. */
export interface HttpHandler {
  /**
   * Must call `exchange.answer`, and neither throw nor be rejected. `undefined` when it was answered in this turn: a
   * promise of that would cost more than the rest.
   */
  serve(exchange: Exchange): Promise<void> | undefined;
  /** The answer to what is no request. */
  refusal(error: KvError): PlainAnswer;
}

const NOTHING: Buffer = Buffer.alloc(0);
const HEAD_END = "\r\n\r\n";
// Up to here a copy costs less than a second piece for the system to take.
const JOINED_BYTES_MAX = 16 * 1024;

/**
 * HTTP/1.1 as workerd's client speaks it: requests one after another on a connection that stays open. It is a
 * part of what Node's own server can do, at a third of its cost, which would be most of the cost of a read.
 */
export class HttpConnection {
  readonly #socket: Socket;
  readonly #handler: HttpHandler;
  readonly #clock: Clock;
  /** What has arrived and belongs to no request yet. */
  #unread = NOTHING;
  /** Of the request that is being answered. */
  #body: RequestBody | undefined;
  /** Since when a request is on its way, by the monotonic clock. */
  #arrivingSinceMs: number | undefined;
  /** Nothing more is read. */
  #isLast = false;
  readonly #onRead = (): void => this.#readOn();

  constructor(socket: Socket, parts: { readonly handler: HttpHandler; readonly clock: Clock }) {
    this.#socket = socket;
    this.#handler = parts.handler;
    this.#clock = parts.clock;
    socket.on("data", (bytes: Buffer) => this.#onData(bytes));
    // A close follows, and says all that matters.
    socket.on("error", () => undefined);
    socket.on("close", () => this.#onClose());
  }

  /** Ends it at once: what has arrived and was not read is no request any more. */
  destroy(): void {
    this.#isLast = true;
    this.#socket.destroy();
  }

  /** Ends it if a request has begun to arrive so long ago that its sender must be stuck. */
  destroyIfStuck(): void {
    const sinceMs = this.#arrivingSinceMs;
    if (sinceMs === undefined) return;
    if (this.#clock.monotonicMs() - sinceMs >= LIMITS.frontRequestMs) this.destroy();
  }

  #onData(bytes: Buffer): void {
    const rest = this.#body === undefined ? bytes : this.#body.take(bytes);
    if (rest.length > 0) {
      this.#unread = this.#unread.length === 0 ? rest : Buffer.concat([this.#unread, rest]);
    }
    this.#readOn();
  }

  /** Serves the requests whose heads are there, and reads no more than there is room for. */
  #readOn(): void {
    while (!this.#isLast && this.#body === undefined && this.#begin());
    if (this.#isLast) this.#unread = NOTHING;
    this.#watchArrival();
    const isFull = this.#body?.isFull === true || this.#unread.length > LIMITS.frontHeadBytesMax;
    if (isFull) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** Begins with the next request. Returns whether it has, and there may be another one. */
  #begin(): boolean {
    if (this.#unread.length === 0) return false;
    const end = this.#unread.indexOf(HEAD_END);
    if (end === -1 && this.#unread.length <= LIMITS.frontHeadBytesMax) return false;
    try {
      if (end === -1 || end > LIMITS.frontHeadBytesMax) {
        const text = `The head of the request is longer than ${LIMITS.frontHeadBytesMax} bytes`;
        throw new KvError("request_invalid", text);
      }
      const head = parseHead(this.#unread.toString("latin1", 0, end));
      const rest = this.#unread.subarray(end + HEAD_END.length);
      const body = RequestBody.of(head.framing, this.#onRead);
      this.#body = body;
      this.#isLast = head.isLast;
      this.#unread = body.take(rest);
      this.#serve(head, body);
      return true;
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      // Where the next request would begin is not known.
      this.#isLast = true;
      this.#socket.end(encodeAnswer(this.#handler.refusal(error), true));
      return false;
    }
  }

  #serve(head: RequestHead, body: RequestBody): void {
    const answer = (content: Answer): Promise<void> | undefined =>
      body.isComplete ? this.#send(head, content) : this.#sendLater(head, body, content);
    const serving = this.#handler.serve({ head, body, answer });
    if (serving === undefined) this.#served();
    else {
      void serving.then(() => {
        this.#served();
        this.#readOn();
      });
    }
  }

  #served(): void {
    this.#body = undefined;
    if (this.#isLast) this.#socket.end();
  }

  async #sendLater(head: RequestHead, body: RequestBody, answer: Answer): Promise<void> {
    if (!(await body.drain(LIMITS.frontDrainBytesMax))) this.destroy();
    await this.#send(head, answer);
  }

  #send(head: RequestHead, answer: Answer): Promise<void> | undefined {
    if (this.#socket.destroyed) return giveUp(answer);
    if (head.method === "HEAD") {
      giveUp(answer);
      return this.#write(encodeHead(answer, this.#isLast));
    }
    const { body: content } = answer;
    if (!(content instanceof Uint8Array)) return this.#stream(answer, content);
    if (content.length <= JOINED_BYTES_MAX) {
      return this.#write(encodeAnswer({ ...answer, body: content }, this.#isLast));
    }
    this.#socket.cork();
    this.#socket.write(encodeHead(answer, this.#isLast), "latin1");
    const written = this.#write(content);
    this.#socket.uncork();
    return written;
  }

  async #stream(answer: Answer, { stream, sizeBytes }: StreamedBody): Promise<void> {
    try {
      await pipeline(stream, async (pieces: AsyncIterable<Buffer>) => {
        await this.#write(encodeHead(answer, this.#isLast));
        let bytes = 0;
        for await (const piece of pieces) {
          bytes += piece.length;
          if (bytes > sizeBytes) break;
          await this.#write(piece);
          if (this.#socket.destroyed) return;
        }
        if (bytes === sizeBytes) return;
        const text = `a value of ${sizeBytes} bytes changed while it was read`;
        throw new KvError("value_unavailable", text);
      });
    } catch (error) {
      // It was begun: a body that is cut shows that it is not whole.
      this.destroy();
      throw error;
    }
  }

  /** Resolves when there is room for more, or nobody reads any more. */
  #write(bytes: string | Uint8Array): Promise<void> | undefined {
    const isRoom =
      typeof bytes === "string" ? this.#socket.write(bytes, "latin1") : this.#socket.write(bytes);
    if (isRoom || this.#socket.destroyed) return undefined;
    return new Promise((resolve) => {
      const settle = (): void => {
        this.#socket.off("drain", settle);
        this.#socket.off("close", settle);
        resolve();
      };
      this.#socket.on("drain", settle);
      this.#socket.on("close", settle);
    });
  }

  #watchArrival(): void {
    const isArriving = this.#body === undefined ? this.#unread.length > 0 : !this.#body.isOver;
    this.#arrivingSinceMs = isArriving
      ? (this.#arrivingSinceMs ?? this.#clock.monotonicMs())
      : undefined;
  }

  #onClose(): void {
    this.#isLast = true;
    this.#body?.fail(new KvError("closed", "the sender has gone"));
  }
}

/** Ends what an answer would be read from. */
function giveUp({ body }: Answer): undefined {
  if (!(body instanceof Uint8Array)) body.stream.destroy();
}
