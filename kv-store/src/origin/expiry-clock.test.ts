import { expect, test } from "vitest";
import { ManualClock } from "../test-support/manual-clock.ts";
import { ExpiryClock } from "./expiry-clock.ts";

const NOW_MS = 1_800_000_000_000;

test("ExpiryClock: goes with the wall clock, and stands still while that is behind", () => {
  const clock = new ManualClock(NOW_MS);
  const time = new ExpiryClock(clock, 0);
  clock.advance(1_500);
  expect([time.nowMs(), time.nowSeconds()]).toEqual([NOW_MS + 1_500, NOW_MS / 1_000 + 1]);
  clock.stepWall(-1_000);
  expect(time.nowMs()).toBe(NOW_MS + 1_500);
  clock.advance(999);
  expect(time.nowMs()).toBe(NOW_MS + 1_500);
  clock.advance(2);
  expect(time.nowMs()).toBe(NOW_MS + 1_501);
});

test("ExpiryClock: is at least where somebody else has come", () => {
  const time = new ExpiryClock(new ManualClock(NOW_MS), NOW_MS / 1_000 + 5);
  expect(time.nowMs()).toBe(NOW_MS + 5_000);
  time.reached(NOW_MS / 1_000 + 7);
  time.reached(1);
  expect(time.nowMs()).toBe(NOW_MS + 7_000);
});
