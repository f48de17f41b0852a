import { expect, test } from "vitest";
import { simulate } from "./simulation.ts";

// A few seconds of every run; `ATOLL_SIMULATION_SEED` begins with one that failed.
const BUDGET_MS = 3_000;
const SEED_COUNT_MIN = 5;

test("replication: keeps its promises under every fault at once, for each seed", () => {
  const given = process.env.ATOLL_SIMULATION_SEED;
  const firstSeed = given === undefined ? Date.now() % 1_000_000 : Number(given);
  const endMs = performance.now() + BUDGET_MS;
  let count = 0;
  while (count < SEED_COUNT_MIN || performance.now() < endMs) {
    const seed = firstSeed + count;
    const report = simulate({ seed, world: "hostile" });
    count += 1;
    // A run that did next to nothing would prove as much.
    expect(report.commits).toBeGreaterThan(100);
    expect(report.acknowledged).toBeGreaterThan(20);
    expect(report.faults).toBeGreaterThan(50);
    simulate({ seed, world: "sound" });
  }
  console.info(`${count} simulations from seed ${firstSeed}`);
});
