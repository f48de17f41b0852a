import { expect, test } from "vitest";
import { KINDS, kindOf, worldOf, type Kind } from "./seed-kind.ts";
import { simulate, type SimulationReport } from "./simulation.ts";

// A few seconds of every run, each time with other seeds; one that fails is in the error's text, and
// `npm run simulate -- --seed <seed> --trace` tells what happened.
const BUDGET_MS = 3_000;
/** By then there was one of each kind, and of each world. */
const SEED_COUNT_MIN = 12;
// The slowest machine that this was seen on took two seconds for a seed.
const TIMEOUT_MS = 60_000;

// A run that did next to nothing would prove as much.
const LEAST: Record<Kind, { readonly commits: number; readonly acknowledged: number }> = {
  dense: { commits: 100, acknowledged: 20 },
  ordinary: { commits: 100, acknowledged: 10 },
  quiet: { commits: 200, acknowledged: 5 },
};
const DAY_MS = 24 * 60 * 60_000;

function expectEnough(report: SimulationReport): void {
  const { kind, world } = report;
  expect(report.commits).toBeGreaterThan(LEAST[kind].commits);
  expect(report.acknowledged).toBeGreaterThan(LEAST[kind].acknowledged);
  expect(report.faults).toBeGreaterThan(world === "sound" ? 5 : 40);
  if (kind !== "quiet") return;
  expect(report.simulatedMs).toBeGreaterThan(9 * DAY_MS);
  expect(report.expired).toBeGreaterThan(0);
}

test(
  "replication: keeps its promises under every fault at once, for each seed",
  () => {
    const firstSeed = Date.now() % 1_000_000;
    const endMs = performance.now() + BUDGET_MS;
    let count = 0;
    while (count < SEED_COUNT_MIN || performance.now() < endMs) {
      expectEnough(simulate(firstSeed + count));
      count += 1;
    }
    console.info(`${count} simulations from seed ${firstSeed}`);
  },
  TIMEOUT_MS,
);

test("simulation: a seed always tells the same story, whoever listens", () => {
  for (const seed of [1, 3]) {
    const lines: string[] = [];
    const told = simulate(seed, (line) => lines.push(line));
    expect(lines.length).toBeGreaterThan(500);
    expect(simulate(seed)).toEqual(told);
  }
});

test("simulation: every eighteen seeds have all kinds in both worlds", () => {
  const found = new Set(
    Array.from({ length: 18 }, (_, seed) => `${kindOf(seed)} ${worldOf(seed)}`),
  );
  expect(found.size).toBe(2 * KINDS.length);
});

test("simulation: in quiet days a node is away for longer than the log reaches back", () => {
  expect(kindOf(9)).toBe("quiet");
  expect(simulate(9).horizons).toBeGreaterThan(0);
});
