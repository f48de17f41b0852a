import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { BoundedJson } from "./bounded-json.ts";

function nested(levels: number): unknown {
  return JSON.parse("[".repeat(levels) + "]".repeat(levels));
}

test("any JSON: is taken as it is up to its deepest level, and refused below it", () => {
  const object = { a: [1, { b: null }], ["__proto__"]: "text" };
  for (const value of [null, 0, "", false, [], {}, object, nested(LIMITS.jsonLevelsMax)]) {
    expect(BoundedJson.parse(value)).toBe(value);
  }
  for (const levels of [LIMITS.jsonLevelsMax + 1, 1_000_000]) {
    const { error } = BoundedJson.safeParse(nested(levels));
    expect(error?.issues[0]?.message).toBe(`deeper than ${LIMITS.jsonLevelsMax} levels`);
  }
});
