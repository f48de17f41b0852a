import { expect, test } from "vitest";
import { mean, median, percentile } from "./statistics.ts";

test("statistics: percentiles are samples, found by nearest rank in any order", () => {
  const samples = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect(percentile(samples, 0.5)).toBe(50);
  expect(percentile(samples, 0.99)).toBe(99);
  expect(percentile(samples, 1)).toBe(100);
  expect(percentile(samples, 0)).toBe(1);
  expect(percentile([7], 0.99)).toBe(7);
  expect(percentile([10, 9, 2], 0.99)).toBe(10);
});

test("statistics: the median of an even number of samples is the lower middle one", () => {
  expect(median([4, 1, 3, 2])).toBe(2);
  expect(median([3, 1, 2])).toBe(2);
});

test("statistics: the mean is exact", () => {
  expect(mean([1, 2, 6])).toBe(3);
});

test("statistics: no samples are an error, not a zero that looks fast", () => {
  expect(() => percentile([], 0.5)).toThrow("no samples");
  expect(() => mean([])).toThrow("no samples");
});
