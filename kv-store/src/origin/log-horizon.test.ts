import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { isFarBehind, lastRevisionBy, nextLogStart } from "./log-horizon.ts";

test("log horizon: a log within its bytes stays, one beyond loses its oldest records but never all", () => {
  const bounds = { added: 1, bytesMax: 100 };
  const extent = { revision: 10, log_start: 0, log_bytes: 100 };
  expect(nextLogStart(extent, bounds)).toBeUndefined();
  expect(nextLogStart({ ...extent, log_bytes: 101 }, bounds)).toBe(5);
  expect(nextLogStart({ revision: 10, log_start: 9, log_bytes: 101 }, bounds)).toBeUndefined();
  const long = { revision: 1_000_000, log_start: 10, log_bytes: 101 };
  expect(nextLogStart(long, bounds)).toBe(10 + LIMITS.logTrimRecordsMax);
  expect(nextLogStart(long, { added: 5_000, bytesMax: 100 })).toBe(10_010);
});

test("log horizon: a reader is far behind when a snapshot is the shorter way, unless it takes one", () => {
  const max = LIMITS.logCatchUpRecordsMax;
  const head = { revision: 3 * max, keys: 5 };
  expect(isFarBehind(2 * max, head, { isHeld: false })).toBe(false);
  expect(isFarBehind(2 * max - 1, head, { isHeld: false })).toBe(true);
  expect(isFarBehind(2 * max - 1, head, { isHeld: true })).toBe(false);
  expect(isFarBehind(0, { ...head, keys: 3 * max }, { isHeld: false })).toBe(false);
});

test("log horizon: the revision of a moment is the last that was committed by then", async () => {
  const commits = [10, 10, 20, 30, 30, 30, 40];
  const looked: number[] = [];
  const at = (atMs: number, start = 0): Promise<number> =>
    lastRevisionBy(atMs, { start, head: commits.length }, async (revision) => {
      looked.push(revision);
      return commits[revision - 1];
    });
  expect(await Promise.all([9, 10, 19, 20, 30, 39, 40, 99].map((ms) => at(ms)))).toEqual([
    ...[0, 2, 2, 3, 6, 6, 7, 7],
  ]);
  looked.length = 0;
  expect(await at(25, 3)).toBe(3);
  expect(Math.min(...looked)).toBeGreaterThan(3);
});
