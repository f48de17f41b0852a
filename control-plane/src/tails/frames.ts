import { LIMITS } from "../limits.ts";

/** Frames of RFC 6455 that a watcher sends, as far as anything follows from them. */
export type ClientFrame =
  | { readonly kind: "data" }
  | { readonly kind: "ping"; readonly payload: Buffer }
  | { readonly kind: "pong" }
  | { readonly kind: "close"; readonly code: number | undefined };

/** Why a watcher's bytes can't be read on: a close code of RFC 6455. */
export class FrameError extends Error {
  override readonly name = "FrameError";
  readonly closeCode: 1002 | 1009;

  constructor(closeCode: 1002 | 1009, message: string) {
    super(message);
    this.closeCode = closeCode;
  }
}

const OPCODES = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const CONTROL_PAYLOAD_MAX = 125;
const MASK_BYTES = 4;

/**
 * Reads what a watcher sends. Frames may be masked or not: wrangler's first one is not, against the RFC, and
 * every wrangler takes a server that insists on it for a broken one. Data is thrown away, since a watcher has
 * nothing to say; of text that comes in fragments each counts as data.
 */
export class FrameReader {
  #buffered: Buffer = Buffer.alloc(0);

  /** The frames that are complete with these bytes. Throws a `FrameError`; nothing can be read after that. */
  read(bytes: Uint8Array): ReadonlyArray<ClientFrame> {
    this.#buffered = Buffer.concat([this.#buffered, bytes]);
    const frames: ClientFrame[] = [];
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) frames.push(frame);
    return frames;
  }

  #next(): ClientFrame | undefined {
    const { length } = this.#buffered;
    if (length < 2) return undefined;
    const first = this.#buffered.readUInt8(0);
    const second = this.#buffered.readUInt8(1);
    const opcode = first & 0x0f;
    const isMasked = (second & 0x80) !== 0;
    const shortLength = second & 0x7f;
    judge(opcode, { isFinal: (first & 0x80) !== 0, reserved: first & 0x70, shortLength });
    // A length of 64 bits is never needed for what is allowed.
    const lengthBytes = shortLength === 126 ? 2 : 0;
    if (length < 2 + lengthBytes) return undefined;
    const payloadLength = lengthBytes === 0 ? shortLength : this.#buffered.readUInt16BE(2);
    if (shortLength === 127 || payloadLength > LIMITS.tailFrameBytesMax) {
      throw new FrameError(1009, `a frame has more than ${LIMITS.tailFrameBytesMax} bytes`);
    }
    const headLength = 2 + lengthBytes + (isMasked ? MASK_BYTES : 0);
    if (length < headLength + payloadLength) return undefined;
    const payload = Buffer.from(this.#buffered.subarray(headLength, headLength + payloadLength));
    if (isMasked) unmask(payload, this.#buffered.subarray(headLength - MASK_BYTES, headLength));
    this.#buffered = this.#buffered.subarray(headLength + payloadLength);
    return frameOf(opcode, payload);
  }
}

export function textFrame(text: string): Buffer {
  return frame(OPCODES.text, Buffer.from(text));
}

export function pingFrame(): Buffer {
  return frame(OPCODES.ping, Buffer.alloc(0));
}

export function pongFrame(payload: Uint8Array): Buffer {
  return frame(OPCODES.pong, payload);
}

export function closeFrame(code: number, reason: string): Buffer {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code);
  payload.write(reason, 2);
  return frame(OPCODES.close, payload);
}

function frame(opcode: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const lengthBytes = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + lengthBytes);
  head.writeUInt8(0x80 | opcode, 0);
  head.writeUInt8(lengthBytes === 0 ? length : lengthBytes === 2 ? 126 : 127, 1);
  if (lengthBytes === 2) head.writeUInt16BE(length, 2);
  if (lengthBytes === 8) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}

function judge(
  opcode: number,
  head: { readonly isFinal: boolean; readonly reserved: number; readonly shortLength: number },
): void {
  if (!Object.values<number>(OPCODES).includes(opcode)) {
    throw new FrameError(1002, `there is no frame of the kind ${opcode}`);
  }
  // No extension was agreed on.
  if (head.reserved !== 0) throw new FrameError(1002, "a frame has reserved bits");
  const isControl = opcode >= OPCODES.close;
  if (isControl && (!head.isFinal || head.shortLength > CONTROL_PAYLOAD_MAX)) {
    throw new FrameError(1002, "a control frame is fragmented or too long");
  }
}

function frameOf(opcode: number, payload: Buffer): ClientFrame {
  switch (opcode) {
    case OPCODES.ping:
      return { kind: "ping", payload };
    case OPCODES.pong:
      return { kind: "pong" };
    case OPCODES.close:
      return { kind: "close", code: payload.length >= 2 ? payload.readUInt16BE(0) : undefined };
    default:
      return { kind: "data" };
  }
}

function unmask(payload: Buffer, mask: Buffer): void {
  for (const [index, byte] of payload.entries()) {
    payload[index] = byte ^ mask.readUInt8(index % MASK_BYTES);
  }
}
