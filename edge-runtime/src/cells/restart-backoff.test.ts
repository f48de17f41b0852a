import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { RestartBackoff } from "./restart-backoff.ts";

test("backoff: the first death costs nothing, each further one doubles, up to the limit", () => {
  const backoff = new RestartBackoff();
  const waits = Array.from({ length: 40 }, () => {
    backoff.noteDeath(0, 0);
    return backoff.waitMs(0);
  });
  expect(waits.slice(0, 4)).toEqual([
    0,
    LIMITS.cellBackoffMs,
    2 * LIMITS.cellBackoffMs,
    4 * LIMITS.cellBackoffMs,
  ]);
  expect(waits.at(-1)).toBe(LIMITS.cellBackoffMsMax);
});

test("backoff: the wait passes with time", () => {
  const backoff = new RestartBackoff();
  backoff.noteDeath(0, 0);
  backoff.noteDeath(0, 0);
  expect(backoff.waitMs(LIMITS.cellBackoffMs - 1)).toBe(1);
  expect(backoff.waitMs(LIMITS.cellBackoffMs)).toBe(0);
});

test("backoff: a cell that lived long enough starts with a clean slate", () => {
  const backoff = new RestartBackoff();
  for (let death = 0; death < 5; death += 1) backoff.noteDeath(0, LIMITS.cellHealthyMs - 1);
  expect(backoff.waitMs(0)).toBeGreaterThan(0);
  backoff.noteDeath(0, LIMITS.cellHealthyMs);
  expect(backoff.waitMs(0)).toBe(0);
  expect(backoff.deaths).toBe(1);
});
