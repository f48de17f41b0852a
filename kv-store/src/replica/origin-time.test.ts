import { beforeEach, expect, test } from "vitest";
import { ManualClock } from "../test-support/manual-clock.ts";
import { OriginTime } from "./origin-time.ts";

const ORIGIN_MS = 1_900_000_000_000;
const ORIGIN_SECONDS = ORIGIN_MS / 1_000;

let clock: ManualClock;
/** What was saved, in order. */
let saved: number[];

beforeEach(() => {
  clock = new ManualClock();
  saved = [];
});

function start(from?: number): OriginTime {
  return new OriginTime({ clock, saved: from, save: (seconds) => saved.push(seconds) });
}

/** A heartbeat that says what the origin's clock showed; the node had asked so long ago. */
function hear(time: OriginTime, originMs: number, agoMs = 0): void {
  time.heard({ originMs, echoMs: clock.monotonicMs() - agoMs });
}

test("OriginTime: knows nothing and hides nothing before the origin is heard", () => {
  const time = start();
  expect(time.nowMs()).toBeUndefined();
  expect(time.isExpired(1)).toBe(false);
  expect(saved).toEqual([]);
});

test("OriginTime: an entry is there until its second begins, and gone from then on", () => {
  const time = start();
  hear(time, ORIGIN_MS);
  clock.advance(999);
  expect(time.isExpired(ORIGIN_SECONDS + 1)).toBe(false);
  clock.advance(1);
  expect(time.isExpired(ORIGIN_SECONDS + 1)).toBe(true);
});

test.each([3_600_000, -3_600_000])(
  "OriginTime: the node's wall clock says nothing, also when it is set by %d ms",
  (stepMs) => {
    const time = start();
    hear(time, ORIGIN_MS);
    clock.stepWall(stepMs);
    clock.advance(1_000);
    expect(time.nowMs()).toBe(ORIGIN_MS + 1_000);
  },
);

test("OriginTime: is never ahead of the origin, and as near as the quickest heartbeat has shown", () => {
  const time = start();
  hear(time, ORIGIN_MS, 400);
  expect(time.nowMs()).toBe(ORIGIN_MS);
  clock.advance(1_000);
  // It took 300 ms less to come.
  hear(time, ORIGIN_MS + 1_300, 400);
  expect(time.nowMs()).toBe(ORIGIN_MS + 1_300);
  clock.advance(1_000);
  // A slow one says less.
  hear(time, ORIGIN_MS + 2_000, 900);
  expect(time.nowMs()).toBe(ORIGIN_MS + 2_300);
});

test("OriginTime: a monotonic clock that is too quick is held back by what is heard", () => {
  const time = start();
  hear(time, ORIGIN_MS);
  clock.advance(10_000);
  hear(time, ORIGIN_MS + 9_000, 100);
  clock.advance(3_000);
  expect(time.nowMs()).toBe(ORIGIN_MS + 12_100);
});

test("OriginTime: what has expired stays so, whatever is heard then", () => {
  const time = start();
  hear(time, ORIGIN_MS);
  clock.advance(60_000);
  expect(time.isExpired(ORIGIN_SECONDS + 60)).toBe(true);
  hear(time, ORIGIN_MS);
  expect(time.isExpired(ORIGIN_SECONDS + 60)).toBe(true);
  expect(time.nowMs()).toBe(ORIGIN_MS + 60_000);
});

test("OriginTime: what has expired stays so over a restart, and is saved before it is hidden", () => {
  const time = start();
  hear(time, ORIGIN_MS);
  clock.advance(60_000);
  time.isExpired(ORIGIN_SECONDS + 60);
  time.isExpired(ORIGIN_SECONDS + 59);
  expect(saved).toEqual([ORIGIN_SECONDS, ORIGIN_SECONDS + 60]);
  clock.stepWall(-3_600_000);
  const next = start(saved.at(-1));
  expect(next.isExpired(ORIGIN_SECONDS + 60)).toBe(true);
  expect(next.isExpired(ORIGIN_SECONDS + 61)).toBe(false);
  // Without the origin it goes on from there.
  clock.advance(1_000);
  expect(next.isExpired(ORIGIN_SECONDS + 61)).toBe(true);
});

test("OriginTime: follows when the origin's clock is set forwards", () => {
  const time = start();
  hear(time, ORIGIN_MS);
  hear(time, ORIGIN_MS + 3_600_000, 10);
  expect(time.nowMs()).toBe(ORIGIN_MS + 3_600_000);
});
