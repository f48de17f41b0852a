import * as fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { closeFrame, FrameError, FrameReader, pingFrame, textFrame } from "./frames.ts";

/** As a client writes it, masked or not. */
function clientFrame(opcode: number, payload: Buffer, mask?: Buffer): Buffer {
  const { length } = payload;
  const isLong = length >= 126;
  const head = Buffer.alloc(isLong ? 4 : 2);
  head[0] = 0x80 | opcode;
  head[1] = (mask === undefined ? 0 : 0x80) | (isLong ? 126 : length);
  if (isLong) head.writeUInt16BE(length, 2);
  if (mask === undefined) return Buffer.concat([head, payload]);
  const masked = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0));
  return Buffer.concat([head, mask, masked]);
}

test("frames: masked and unmasked ones are read alike, however they arrive in pieces", () => {
  const bytes = (maxLength: number) =>
    fc.uint8Array({ maxLength }).map((each) => Buffer.from(each));
  const frame = fc.record({
    payload: bytes(125),
    text: bytes(LIMITS.tailFrameBytesMax),
    mask: fc.option(fc.uint8Array({ minLength: 4, maxLength: 4 }), { nil: undefined }),
  });
  const property = fc.property(fc.array(frame), fc.nat({ max: 50 }), (all, size) => {
    const sent = Buffer.concat(
      all.flatMap(({ payload, text, mask }) => {
        const masking = mask === undefined ? undefined : Buffer.from(mask);
        return [clientFrame(1, text, masking), clientFrame(9, payload, masking)];
      }),
    );
    const reader = new FrameReader();
    const read = [];
    for (let at = 0; at < sent.length; at += size + 1) {
      read.push(...reader.read(sent.subarray(at, at + size + 1)));
    }
    expect(read).toEqual(
      all.flatMap(({ payload }) => [{ kind: "data" }, { kind: "ping", payload }]),
    );
  });
  fc.assert(property, { numRuns: 50 });
});

test("frames: a close is read with its code, and without one", () => {
  expect(new FrameReader().read(clientFrame(8, Buffer.from([3, 232])))).toEqual([
    { kind: "close", code: 1000 },
  ]);
  expect(new FrameReader().read(clientFrame(8, Buffer.alloc(0)))).toEqual([
    { kind: "close", code: undefined },
  ]);
});

test.each([
  ["reserved bits", Buffer.from([0xc1, 0]), 1002],
  ["a kind that there is not", Buffer.from([0x83, 0]), 1002],
  ["a fragmented ping", Buffer.from([0x09, 0]), 1002],
  ["a ping of 126 bytes", clientFrame(9, Buffer.alloc(126)), 1002],
  ["a length of 64 bits", Buffer.from([0x81, 127]), 1009],
  ["one byte too many", clientFrame(1, Buffer.alloc(LIMITS.tailFrameBytesMax + 1)), 1009],
])("frames: %s ends the reading", (_what, bytes, closeCode) => {
  const read = (): unknown => new FrameReader().read(bytes);
  expect(read).toThrow(FrameError);
  expect(read).toThrow(expect.objectContaining({ closeCode }));
});

test("frames: any bytes are read or refused", () => {
  const property = fc.property(fc.uint8Array({ maxLength: 2_000 }), (bytes) => {
    const read = (): boolean => {
      try {
        return new FrameReader().read(bytes).length >= 0;
      } catch (error) {
        return error instanceof FrameError;
      }
    };
    expect(read()).toBe(true);
  });
  fc.assert(property, { numRuns: 500 });
});

test.each([
  [0, "8100"],
  [125, "817d"],
  [126, "817e007e"],
  [65_535, "817effff"],
  [65_536, "817f0000000000010000"],
])("frames: a text of %i bytes has the head %s", (length, head) => {
  const frame = textFrame("x".repeat(length));
  const headLength = frame.length - length;
  expect(frame.subarray(0, headLength).toString("hex")).toBe(head);
});

test("frames: what a server says besides is short and not masked", () => {
  expect(pingFrame()).toEqual(Buffer.from([0x89, 0]));
  expect(closeFrame(1001, "bye")).toEqual(Buffer.from([0x88, 5, 3, 233, 0x62, 0x79, 0x65]));
});
