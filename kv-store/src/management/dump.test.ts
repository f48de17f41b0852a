import { describe, expect, test } from "vitest";
import { Key } from "../entry.ts";
import { dumpLine, parseDumpLine, type DumpedEntry } from "./dump-line.ts";
import { linesOf } from "./lines.ts";

const bytes = (...values: ReadonlyArray<number>): Uint8Array<ArrayBuffer> => Buffer.from(values);

describe("dump line", () => {
  const entries: ReadonlyArray<DumpedEntry> = [
    { key: Key.parse("plain"), value: Buffer.from("text") },
    { key: Key.parse("empty"), value: Buffer.alloc(0) },
    { key: Key.parse('\u2028 " \\ \n \u0000 \u{10000}'), value: Buffer.from("\ufeffä\u0000\n") },
    { key: Key.parse("binary"), value: bytes(0xff, 0, 0x80, 0xc3) },
    { key: Key.parse("controls"), value: Buffer.alloc(1_000) },
    {
      key: Key.parse("all"),
      value: Buffer.from("{}"),
      // Not as JavaScript would write it again.
      metadata: '{ "b": 1.0, "a": 1e2, "a": "\\u00e4" }',
      expiresAt: 253_402_300_799,
    },
    { key: Key.parse("__proto__"), value: Buffer.from("x"), metadata: "null" },
  ];

  test.each(entries)("holds exactly what there is, in one line: %j", (entry) => {
    const line = dumpLine(entry);
    expect(line).not.toContain("\n");
    expect(parseDumpLine(line)).toEqual({
      kind: "entry",
      entry: { ...entry, value: Buffer.from(entry.value) },
    });
  });

  test("text is there to be read, what is mostly escapes is in base64", () => {
    expect(dumpLine(entries[0] as DumpedEntry)).toBe('{"key":"plain","value":"text"}');
    expect(dumpLine(entries[4] as DumpedEntry)).toContain('"base64":"AAAA');
  });

  test.each([
    ["", "it is empty"],
    ["{", "it is not JSON"],
    ["[]", "expected object"],
    ['{"value":"x"}', "key: "],
    ['{"key":"k"}', "either 'value' or 'base64'"],
    ['{"key":"k","value":"x","base64":"eA=="}', "either 'value' or 'base64'"],
    ['{"key":"k","value":"x","more":1}', "more"],
    ['{"key":"k","value":1}', "value: "],
    ['{"key":"k","base64":"e"}', "base64: it is not base64"],
    ['{"key":"k","base64":"eB=="}', "base64: it is not base64"],
    ['{"key":"","value":"x"}', "must not be empty"],
    ['{"key":"..","value":"x"}', "Illegal key name"],
    [`{"key":"${"k".repeat(513)}","value":"x"}`, "exceeds key length limit of 512"],
    ['{"key":"\\ud800","value":"x"}', "half a surrogate"],
    ['{"key":"k","value":"\\ud800"}', "half a surrogate"],
    ['{"key":"k","value":"x","metadata":"{"}', "Metadata must be valid JSON"],
    [`{"key":"k","value":"x","metadata":"\\"${"m".repeat(1_023)}\\""}`, "exceeds limit of 1024"],
    ['{"key":"k","value":"x","metadata":{}}', "metadata: "],
    ['{"key":"k","value":"x","expiration":0}', "expiration: "],
    ['{"key":"k","value":"x","expiration":1.5}', "expiration: "],
    ['{"key":"k","value":"x","expiration":253402300800}', "expiration: "],
    ['{"atoll":"kv-dump","version":2}', "version: "],
    ['{"end":true}', "entries: "],
  ])("refuses %s", (line, rule) => {
    expect(() => parseDumpLine(line)).toThrowError(
      expect.objectContaining({ code: "import_invalid", message: expect.stringContaining(rule) }),
    );
  });
});

describe("lines", () => {
  async function read(pieces: ReadonlyArray<Uint8Array>, bytesMax = 100): Promise<string[]> {
    async function* content(): AsyncGenerator<Uint8Array> {
      yield* pieces;
    }
    return Array.fromAsync(linesOf(content(), bytesMax));
  }
  const text = (...pieces: ReadonlyArray<string>): Uint8Array[] =>
    pieces.map((piece) => Buffer.from(piece));

  test("are the same however the bytes are cut, and the last one needs no end", async () => {
    const whole = Buffer.from("ä\n\nb\u{10000}c\nlast");
    const expected = ["ä", "", "b\u{10000}c", "last"];
    expect(await read([whole])).toEqual(expected);
    expect(await read([...whole].map((byte) => Buffer.of(byte)))).toEqual(expected);
    expect(await read(text("one\n"))).toEqual(["one"]);
    expect(await read([])).toEqual([]);
    expect(await read(text("\ufeffx"))).toEqual(["\ufeffx"]);
  });

  test("end at one that is too long, or is no UTF-8", async () => {
    expect(await read(text("a".repeat(50), "a".repeat(50), "\nb"))).toEqual(["a".repeat(100), "b"]);
    await expect(read(text("a".repeat(50), "a".repeat(51)))).rejects.toMatchObject({
      code: "import_invalid",
    });
    for (const wrong of [Buffer.of(0x61, 0xff, 0x0a), Buffer.of(0xc3)]) {
      await expect(read([wrong])).rejects.toMatchObject({ code: "import_invalid" });
    }
  });
});
