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

type Done = "commits" | "acknowledged" | "expired" | "simulatedMs";

// A run that did next to nothing would prove as much.
const LEAST: Record<Kind, Readonly<Record<Done, number>>> = {
  dense: { commits: 100, acknowledged: 20, expired: 0, simulatedMs: 60_000 },
  ordinary: { commits: 100, acknowledged: 10, expired: 0, simulatedMs: 5 * 60_000 },
  quiet: { commits: 200, acknowledged: 5, expired: 1, simulatedMs: 10 * 24 * 60 * 60_000 },
};

/** What a run did too little of. */
function shortcomings(report: SimulationReport): string[] {
  const least = Object.entries({
    ...LEAST[report.kind],
    faults: report.world === "sound" ? 5 : 40,
  }) as Array<[Done | "faults", number]>; // as they are above
  return least.filter(([what, count]) => report[what] < count).map(([what]) => what);
}

test(
  "replication: keeps its promises under every fault at once, for each seed",
  () => {
    const firstSeed = Date.now() % 1_000_000;
    const endMs = performance.now() + BUDGET_MS;
    let count = 0;
    while (count < SEED_COUNT_MIN || performance.now() < endMs) {
      expect(shortcomings(simulate(firstSeed + count))).toEqual([]);
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
