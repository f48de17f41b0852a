import { availableParallelism } from "node:os";
import { systemClock } from "@atoll/kv-store";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { afterEach, expect, test } from "vitest";
import { SpareCores } from "./spare-cores.ts";

let cores: SpareCores;

afterEach(() => cores.close());

test("spare cores: none are known of at the first look, and one that works is not among them", () => {
  cores = new SpareCores(systemClock);
  expect(cores.look()).toBe(0);
  const begunMs = performance.now();
  while (performance.now() - begunMs < 300);
  const spare = cores.look();
  expect(spare).toBeGreaterThanOrEqual(0);
  // Idle time comes in ticks of 10 ms for each core.
  expect(spare).toBeLessThan(availableParallelism() - 0.8);
});

test("spare cores: idle time is by the time that passed", () => {
  const clock = new ManualClock();
  cores = new SpareCores(clock);
  cores.look();
  clock.advance(1_000_000);
  expect(cores.look()).toBeLessThan(0.01);
  // No time at all has passed.
  expect(cores.look()).toBe(0);
});
