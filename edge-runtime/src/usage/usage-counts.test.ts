import fc from "fast-check";
import { expect, test } from "vitest";
import { addCounts, divide, noCounts } from "./usage-counts.ts";

test("usage counts: sums add up, and the peak is the highest", () => {
  const counts = noCounts();
  addCounts(counts, { requests: 2, memoryPeakBytes: 5 });
  addCounts(counts, { requests: 3, errors: 1, memoryPeakBytes: 4 });
  expect(counts).toEqual({ ...noCounts(), requests: 5, errors: 1, memoryPeakBytes: 5 });
});

test.each([
  [10, [1], [10]],
  [10, [0], [10]],
  [10, [0, 0, 0], [10, 0, 0]],
  [10, [1, 1], [5, 5]],
  [10, [1, 0, 3], [3, 0, 7]],
  [1, [1, 1, 1], [0, 1, 0]],
])("usage counts: %d divided by %j", (whole, weights, parts) => {
  expect(divide(whole, weights)).toEqual(parts);
});

test("usage counts: the parts are whole, none is below 0, and they add up to the whole", () => {
  fc.assert(
    fc.property(
      fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      fc.array(fc.nat({ max: 1e12 }), { minLength: 1, maxLength: 10 }),
      (whole, weights) => {
        const parts = divide(whole, weights);
        expect(parts.every((part) => Number.isSafeInteger(part) && part >= 0)).toBe(true);
        expect(parts.reduce((sum, part) => sum + part, 0)).toBe(whole);
      },
    ),
  );
});
