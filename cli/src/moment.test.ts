import { expect, test } from "vitest";
import { parseFutureMoment, parseMoment } from "./moment.ts";

const NOW = Date.parse("2026-11-20T12:00:00Z");

test.each([
  ["2026-11-20T12:00:00Z", "2026-11-20T12:00:00.000Z"],
  ["2026-11-20T12:00+02:00", "2026-11-20T10:00:00.000Z"],
  ["2026-11-20T12:00:00.123-01:30", "2026-11-20T13:30:00.123Z"],
  ["30s", "2026-11-20T11:59:30.000Z"],
  ["90m", "2026-11-20T10:30:00.000Z"],
  ["2h", "2026-11-20T10:00:00.000Z"],
  ["3d", "2026-11-17T12:00:00.000Z"],
  ["0s", "2026-11-20T12:00:00.000Z"],
])("moment: %s", (text, expected) => {
  expect(parseMoment(text, NOW).toISOString()).toBe(expected);
});

test.each([
  "",
  "yesterday",
  "2026-11-20",
  "2026-11-20T12:00:00",
  "2026-13-20T12:00:00Z",
  "-1h",
  "1.5h",
  "2w",
  "1234567s",
])("moment: '%s' is refused", (text) => {
  expect(() => parseMoment(text, NOW)).toThrow("A moment is");
});

test.each([
  ["90d", "2027-02-18T12:00:00.000Z"],
  ["1s", "2026-11-20T12:00:01.000Z"],
  ["2026-11-20T12:00:01Z", "2026-11-20T12:00:01.000Z"],
])("future moment: %s", (text, expected) => {
  expect(parseFutureMoment(text, NOW).toISOString()).toBe(expected);
});

test.each(["", "0s", "2026-11-20T12:00:00Z", "2026-11-20T12:00:01", "-1h", "tomorrow"])(
  "future moment: '%s' is refused",
  (text) => {
    expect(() => parseFutureMoment(text, NOW)).toThrow("It is a date to come");
  },
);
