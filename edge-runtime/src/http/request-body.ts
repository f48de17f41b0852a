import type { IncomingMessage, ServerResponse } from "node:http";
import { LIMITS } from "../limits.ts";

/**
 * A request's body as undici reads it: pulled piece by piece, at the receiver's pace. It is not touched
 * before the connection to the receiver stands, so until then the request can go to another one.
 */
export class RequestBody implements AsyncIterable<Buffer> {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #onStalled: (() => void) | undefined;
  readonly #idleMs: number;
  readonly #onTooLarge: (() => void) | undefined;
  readonly #bytesMax: number;
  readonly #expectsContinue: boolean;
  #isStarted = false;
  #isDiscarding = false;
  #bytesTaken = 0;

  constructor(
    exchange: { readonly request: IncomingMessage; readonly response: ServerResponse },
    options: {
      readonly expectsContinue: boolean;
      /** Called when the sender lets the reader wait for `idleMs`, of `LIMITS` by default. */
      readonly onStalled?: () => void;
      readonly idleMs?: number;
      /** Called with the piece that makes the body longer than `bytesMax`; nothing comes after it. */
      readonly onTooLarge?: () => void;
      readonly bytesMax?: number;
    },
  ) {
    this.#request = exchange.request;
    this.#response = exchange.response;
    this.#expectsContinue = options.expectsContinue;
    this.#onStalled = options.onStalled;
    this.#onTooLarge = options.onTooLarge;
    this.#bytesMax = options.bytesMax ?? Infinity;
    this.#idleMs = options.idleMs ?? LIMITS.requestBodyIdleMs;
  }

  /** The client holds its body back until it hears `100 Continue`, and has not heard it yet. */
  get isHeldBack(): boolean {
    return this.#expectsContinue && !this.#isStarted;
  }

  /** How much the receiver has taken. */
  get bytesTaken(): number {
    return this.#bytesTaken;
  }

  /** Reads the rest and forgets it, so that the connection can carry the next request. */
  discard(): void {
    this.#isDiscarding = true;
    // Once started, the generator below owns the stream: it is asked for one more piece after the
    // receiver's connection closed, and then runs to the end.
    if (!this.#isStarted) this.#request.resume();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    if (this.isHeldBack && !this.#response.headersSent) this.#response.writeContinue();
    this.#isStarted = true;
    let isWaiting = true;
    const timer = setTimeout(() => {
      // Time that the receiver takes to accept a piece is not the client's.
      if (isWaiting) this.#onStalled?.();
      else timer.refresh();
    }, this.#idleMs);
    try {
      // The request outlives its body when the receiver answers early, so it is not destroyed with it.
      for await (const piece of this.#request.iterator({ destroyOnReturn: false })) {
        if (this.#isDiscarding) continue;
        const { length } = piece as Buffer;
        if (this.#bytesTaken + length > this.#bytesMax) {
          this.#isDiscarding = true;
          this.#onTooLarge?.();
          continue;
        }
        this.#bytesTaken += length;
        isWaiting = false;
        yield piece as Buffer;
        isWaiting = true;
        timer.refresh();
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
