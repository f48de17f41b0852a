import assert from "node:assert/strict";
import { KvError } from "../../errors.ts";

/** How a request says where its body ends. */
export type BodyFraming =
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" };

/** Of a request that has no body. */
export const NO_FRAMING: BodyFraming = { kind: "length", bytes: 0 };

/** Takes a body out of the bytes of a connection, however they are cut. */
export interface BodyDecoder {
  /** The end of the body was taken. */
  readonly isComplete: boolean;
  /**
   * Adds what is of the body to `pieces`, as views of `bytes`, and returns what is behind it. Fails with
   * `request_invalid` where the framing is broken: then nothing that follows can be understood.
   */
  take(bytes: Buffer, pieces: Buffer[]): Buffer;
}

export function decoderFor(framing: BodyFraming): BodyDecoder {
  return framing.kind === "length" ? new LengthDecoder(framing.bytes) : new ChunkDecoder();
}

class LengthDecoder implements BodyDecoder {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  get isComplete(): boolean {
    return this.#left === 0;
  }

  take(bytes: Buffer, pieces: Buffer[]): Buffer {
    if (this.#left === 0 || bytes.length === 0) return bytes;
    const piece = bytes.subarray(0, this.#left);
    this.#left -= piece.length;
    pieces.push(piece);
    return bytes.subarray(piece.length);
  }
}

const LINE_FEED = 0x0a;
/** A size of eight digits is 4 GiB; extensions, which nobody sends, may take the rest. */
const LINE_BYTES_MAX = 256;
const SIZE_LINE = /^([0-9a-fA-F]{1,8})[\t ]*(?:;.*)?$/;

class ChunkDecoder implements BodyDecoder {
  /** What comes next. `end`: the line break behind a chunk. `last`: the one behind the chunk of no size. */
  #next: "size" | "data" | "end" | "last" | "nothing" = "size";
  /** What has arrived of a line. */
  #line = "";
  /** What is to come of a chunk. */
  #left = 0;

  get isComplete(): boolean {
    return this.#next === "nothing";
  }

  take(bytes: Buffer, pieces: Buffer[]): Buffer {
    let rest = bytes;
    while (rest.length > 0 && this.#next !== "nothing") {
      rest = this.#next === "data" ? this.#takeData(rest, pieces) : this.#takeLine(rest);
    }
    return rest;
  }

  #takeData(bytes: Buffer, pieces: Buffer[]): Buffer {
    const piece = bytes.subarray(0, this.#left);
    pieces.push(piece);
    this.#left -= piece.length;
    if (this.#left === 0) this.#next = "end";
    return bytes.subarray(piece.length);
  }

  #takeLine(bytes: Buffer): Buffer {
    const end = bytes.indexOf(LINE_FEED);
    const piece = end === -1 ? bytes : bytes.subarray(0, end + 1);
    if (this.#line.length + piece.length > LINE_BYTES_MAX) throw malformed("a line is too long");
    this.#line += piece.toString("latin1");
    if (end !== -1) this.#endLine();
    return bytes.subarray(piece.length);
  }

  #endLine(): void {
    const line = this.#line;
    this.#line = "";
    if (!line.endsWith("\r\n")) throw malformed("a line does not end as one");
    this.#onLine(line.slice(0, -2));
  }

  #onLine(line: string): void {
    if (this.#next === "size") {
      const [, digits] = SIZE_LINE.exec(line) ?? [];
      if (digits === undefined) throw malformed("a chunk has no size");
      this.#left = Number.parseInt(digits, 16);
      this.#next = this.#left === 0 ? "last" : "data";
      return;
    }
    assert(this.#next === "end" || this.#next === "last", "a line where none is read");
    // Also fields behind the body: the binding sends none, and they could not be told from its own.
    if (line !== "") throw malformed("something follows a chunk");
    this.#next = this.#next === "end" ? "size" : "nothing";
  }
}

function malformed(what: string): KvError {
  return new KvError("request_invalid", `The body of the request is malformed: ${what}`);
}
