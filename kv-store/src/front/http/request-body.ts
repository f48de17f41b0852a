import { KvError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import { decoderFor, NO_FRAMING, type BodyDecoder, type BodyFraming } from "./body-decoder.ts";

/**
 * The body of one request, from the pieces in which it arrives. It is read once. A reader that stops early
 * leaves the connection open, so that the sender can be told why.
 */
export class RequestBody implements AsyncIterable<Buffer> {
  readonly #decoder: BodyDecoder;
  readonly #onRead: () => void;
  /** What has arrived and was not read. */
  #pieces: Buffer[] = [];
  /** Why there will be no more of it. */
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  /** `onRead` is told when all that had arrived was read: there is room for more. */
  constructor(framing: BodyFraming, onRead: () => void) {
    this.#decoder = decoderFor(framing);
    this.#onRead = onRead;
  }

  /** `onRead` as in the constructor. Requests without a body share one, whose state never changes. */
  static of(framing: BodyFraming, onRead: () => void): RequestBody {
    return framing === NO_FRAMING ? NO_BODY : new RequestBody(framing, onRead);
  }

  /** All of it has arrived. */
  get isComplete(): boolean {
    return this.#decoder.isComplete;
  }

  /** Nothing more will arrive, complete or not. */
  get isOver(): boolean {
    return this.isComplete || this.#failure !== undefined;
  }

  /** More has arrived than should wait for its reader. */
  get isFull(): boolean {
    const bytes = this.#pieces.reduce((sum, piece) => sum + piece.length, 0);
    return bytes >= LIMITS.frontBodyHeldBytesMax;
  }

  /** Takes what arrived, and returns what is behind the body. What is malformed is told to its reader. */
  take(bytes: Buffer): Buffer {
    if (this.isOver) return bytes;
    let rest: Buffer;
    try {
      rest = this.#decoder.take(bytes, this.#pieces);
    } catch (error) {
      if (!(error instanceof KvError)) throw error;
      this.fail(error);
      return bytes;
    }
    this.#wakeReader();
    return rest;
  }

  /** Nothing more can arrive. */
  fail(error: Error): void {
    if (!this.isOver) this.#failure = error;
    this.#wakeReader();
  }

  /** Ends after the last byte. Fails with what `fail` was told when the body broke off. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    for (;;) {
      const pieces = this.#pieces;
      this.#pieces = [];
      yield* pieces;
      if (this.#pieces.length > 0) continue;
      if (this.isComplete) return;
      if (this.#failure !== undefined) throw this.#failure;
      this.#onRead();
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** The whole body as text. Fails with `request_invalid` when it is longer than `bytesMax`. */
  async text(bytesMax: number): Promise<string> {
    const pieces: Buffer[] = [];
    let bytes = 0;
    for await (const piece of this) {
      bytes += piece.length;
      if (bytes > bytesMax) {
        throw new KvError("request_invalid", `The body is longer than ${bytesMax} bytes`);
      }
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString("utf8");
  }

  /** Reads what is left and forgets it. False when it is longer than `bytesMax` or breaks off. */
  async drain(bytesMax: number): Promise<boolean> {
    let bytes = 0;
    try {
      for await (const piece of this) {
        bytes += piece.length;
        if (bytes > bytesMax) return false;
      }
      return true;
    } catch (error) {
      if (error === this.#failure) return false;
      throw error;
    }
  }

  #wakeReader(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

const NO_BODY = new RequestBody(NO_FRAMING, () => undefined);
