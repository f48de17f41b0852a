import * as fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { noteStart, NO_STARTS, zygotesWanted } from "./zygote-pool-size.ts";

const BOUNDS = { min: 3, max: 12 };

/** The rate after starts at these times. */
function after(...timesMs: ReadonlyArray<number>) {
  return timesMs.reduce(noteStart, NO_STARTS);
}

const someTimes = fc
  .array(fc.integer({ min: 0, max: 600_000 }), { maxLength: 50 })
  .map((times) => times.toSorted((a, b) => a - b));

test("zygote pool: its size is within its bounds, whatever happened", () => {
  fc.assert(
    fc.property(someTimes, fc.integer({ min: -1e6, max: 1e7 }), (times, nowMs) => {
      const wanted = zygotesWanted(after(...times), nowMs, BOUNDS);
      expect(wanted).toBeGreaterThanOrEqual(BOUNDS.min);
      expect(wanted).toBeLessThanOrEqual(BOUNDS.max);
    }),
  );
});

test("zygote pool: a start never makes it smaller, and time never larger", () => {
  fc.assert(
    fc.property(someTimes, fc.nat(100_000), (times, laterMs) => {
      const rate = after(...times);
      const nowMs = times.at(-1) ?? 0;
      const now = zygotesWanted(rate, nowMs, BOUNDS);
      expect(zygotesWanted(noteStart(rate, nowMs), nowMs, BOUNDS)).toBeGreaterThanOrEqual(now);
      expect(zygotesWanted(rate, nowMs + laterMs, BOUNDS)).toBeLessThanOrEqual(now);
    }),
  );
});

test("zygote pool: it grows with a burst to what the burst took, and halves as time passes", () => {
  const burst = after(...Array.from({ length: 8 }, () => 0));
  const half = LIMITS.zygoteRateHalfLifeMs;
  const sizes = [0, half, 2 * half, 10 * half].map((nowMs) => zygotesWanted(burst, nowMs, BOUNDS));
  expect(sizes).toEqual([8, 4, 3, 3]);
  const flood = after(...Array.from({ length: 100 }, () => 0));
  expect(zygotesWanted(flood, 0, BOUNDS)).toBe(12);
});

test("zygote pool: a few starts now and then leave it as small as it is", () => {
  const now = 50 * 10 * LIMITS.zygoteRateHalfLifeMs;
  const times = Array.from({ length: 50 }, (_, index) => index * 10 * LIMITS.zygoteRateHalfLifeMs);
  expect(zygotesWanted(after(...times), now, BOUNDS)).toBe(3);
});
