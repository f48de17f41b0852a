import fc from "fast-check";
import { expect, test } from "vitest";
import { asciiJson } from "./ascii-json.ts";

test("asciiJson: any JSON means the same afterwards, and is printable ASCII", () => {
  const texts = fc
    .tuple(fc.jsonValue(), fc.constantFrom(0, 2, "\t"))
    .map(([value, indent]) => JSON.stringify(value, null, indent));
  fc.assert(
    fc.property(texts, (json) => {
      const ascii = asciiJson(json);
      expect(ascii).toMatch(/^[\x20-\x7e]*$/);
      expect(JSON.parse(ascii)).toEqual(JSON.parse(json));
    }),
  );
});

test("asciiJson: line breaks between tokens, DEL and all that is no ASCII don't reach a header", () => {
  expect(asciiJson('{\r\n\t"a": "\x7f é 🏝",\n"n": 1.0}')).toBe(
    '{   "a": "\\u007f \\u00e9 \\ud83c\\udfdd", "n": 1.0}',
  );
});
