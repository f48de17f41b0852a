import { expect, test } from "vitest";
import { parseCompatibilityDate, parseCompatibilityFlags } from "./compatibility.ts";

const NOW = Date.parse("2026-11-20T23:59:59Z");

test("compatibility date: today and every day before it back to the first are kept", () => {
  for (const date of ["2026-11-20", "2024-02-29", "2021-11-02"]) {
    expect(parseCompatibilityDate(date, NOW)).toBe(date);
  }
  expect(parseCompatibilityDate(undefined, NOW)).toBe("2021-11-02");
});

test.each([
  ["2026-11-21", /in the future: today is 2026-11-20/],
  ["2021-11-01", /before 2021-11-02/],
  ["2025-02-29", /not a date/],
  ["2025-13-01", /not a date/],
  ["2025-1-1", /not a date/],
  ["yesterday", /not a date/],
  ["", /not a date/],
  ["2025-01-01T00:00:00Z", /not a date/],
])("compatibility date: '%s' is refused", (text, message) => {
  expect(() => parseCompatibilityDate(text, NOW)).toThrow(message);
});

test("compatibility flags: kept once each, in their order", () => {
  const flags = ["nodejs_compat", "no_global_navigator", "nodejs_compat"];
  expect(parseCompatibilityFlags(flags)).toEqual(["nodejs_compat", "no_global_navigator"]);
  expect(parseCompatibilityFlags(null)).toEqual([]);
  expect(() => parseCompatibilityFlags(["a b"])).toThrow(/'a b'/);
  expect(() => parseCompatibilityFlags(["a".repeat(101)])).toThrow(/flag/);
});
