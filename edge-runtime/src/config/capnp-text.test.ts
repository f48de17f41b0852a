import * as fc from "fast-check";
import { expect, test } from "vitest";
import { embed, quote, struct } from "./capnp-text.ts";

test("capnp text: a literal holds nothing but harmless characters and escapes", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (value) => {
      expect(quote(value)).toMatch(/^"(?:[ !#-[\]-~]|\\x[0-9a-f]{2})*"$/);
    }),
  );
});

test("capnp text: a literal means the bytes of the text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (value) => {
      const inner = quote(value).slice(1, -1);
      const bytes = inner.replace(/\\x([0-9a-f]{2})/g, (_escape, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16)),
      );
      expect(Buffer.from(bytes, "latin1")).toEqual(Buffer.from(value, "utf8"));
    }),
  );
});

test("capnp text: quotes, backslashes and line breaks are escaped", () => {
  expect(quote(`a"b\\c\nd\0`)).toBe(String.raw`"a\x22b\x5cc\x0ad\x00"`);
  expect(embed("f0")).toBe(`embed "f0"`);
});

test("capnp text: a struct leaves out what is not given and refuses odd names", () => {
  expect(struct({ name: quote("a"), entrypoint: undefined })).toBe(`(name = "a")`);
  expect(() => struct({ "a = 1, b": quote("x") })).toThrow(/not the name of a capnp field/);
});
