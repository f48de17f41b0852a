import { expect, test } from "vitest";
import { decoderFor, type BodyFraming } from "./body-decoder.ts";

const CHUNKED: BodyFraming = { kind: "chunked" };

/** What a decoder makes of bytes that arrive in pieces of this size. */
function decode(
  framing: BodyFraming,
  text: string,
  pieceBytes: number,
): { readonly body: string; readonly rest: string; readonly isComplete: boolean } {
  const decoder = decoderFor(framing);
  const bytes = Buffer.from(text, "latin1");
  const pieces: Buffer[] = [];
  let rest = "";
  for (let start = 0; start < bytes.length; start += pieceBytes) {
    rest += decoder.take(bytes.subarray(start, start + pieceBytes), pieces).toString("latin1");
  }
  const body = Buffer.concat(pieces).toString("latin1");
  return { body, rest, isComplete: decoder.isComplete };
}

test.each([1, 2, 3, 7, 1_000])(
  "BodyDecoder: a body is the same however it is cut, here by %i bytes",
  (pieceBytes) => {
    const length = decode({ kind: "length", bytes: 5 }, "valueGET /", pieceBytes);
    expect(length).toEqual({ body: "value", rest: "GET /", isComplete: true });
    const chunks = "3\r\nval\r\n0000A;x=y\r\n\r\n56789012\r\n0\r\n\r\nGET /";
    const chunked = decode(CHUNKED, chunks, pieceBytes);
    expect(chunked).toEqual({ body: "val\r\n56789012", rest: "GET /", isComplete: true });
  },
);

test("BodyDecoder: no body is complete from the beginning, one that is cut never", () => {
  expect(decoderFor({ kind: "length", bytes: 0 }).isComplete).toBe(true);
  expect(decoderFor(CHUNKED).isComplete).toBe(false);
  expect(decode({ kind: "length", bytes: 5 }, "valu", 2).isComplete).toBe(false);
  for (const cut of ["5", "5\r\nvalu", "5\r\nvalue", "5\r\nvalue\r\n", "5\r\nvalue\r\n0\r\n"]) {
    expect(decode(CHUNKED, cut, 1).isComplete, cut).toBe(false);
  }
});

test.each([
  ["no size", "\r\nx"],
  ["a size that is no number", "x\r\n"],
  ["a size with a sign", "-1\r\n"],
  ["a size past all bounds", "100000000\r\n"],
  ["more than its size", "1\r\nxyz\r\n"],
  ["a line break of another kind", "1\nx\n0\n\n"],
  ["a line without an end", `1;${"x".repeat(300)}`],
  ["fields behind it", "0\r\nname: value\r\n\r\n"],
])("BodyDecoder: a body in chunks with %s is refused", (_what, text) => {
  for (const pieceBytes of [1, 1_000]) {
    expect(() => decode(CHUNKED, text, pieceBytes)).toThrow(/body of the request is malformed/);
  }
});
