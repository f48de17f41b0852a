import * as fc from "fast-check";
import { expect, test } from "vitest";
import { chooseSleepers, type KeptCell } from "./memory-policy.ts";

const someCells = fc.array(
  fc.record({
    lastUseMs: fc.nat(20),
    bytes: fc.nat(100),
    inFlight: fc.oneof(fc.constant(0), fc.nat(3)),
  }),
  { maxLength: 30 },
);
const someBudget = fc.nat(2_000);

function bytesOf(cells: ReadonlyArray<KeptCell>): number {
  return cells.reduce((sum, { bytes }) => sum + bytes, 0);
}

test("memory policy: nothing with a request in flight is put to sleep", () => {
  fc.assert(
    fc.property(someCells, someBudget, (cells, budget) => {
      expect(chooseSleepers(cells, budget).filter(({ inFlight }) => inFlight > 0)).toEqual([]);
    }),
  );
});

test("memory policy: what is left fits the budget, or is all in flight", () => {
  fc.assert(
    fc.property(someCells, someBudget, (cells, budget) => {
      const asleep = new Set(chooseSleepers(cells, budget));
      const left = cells.filter((cell) => !asleep.has(cell));
      const isBusy = left.every(({ inFlight }) => inFlight > 0);
      expect(bytesOf(left) <= budget || isBusy).toBe(true);
    }),
  );
});

test("memory policy: nobody sleeps who was used later than one that is idle and awake", () => {
  fc.assert(
    fc.property(someCells, someBudget, (cells, budget) => {
      const asleep = new Set(chooseSleepers(cells, budget));
      const awake = cells.filter((cell) => !asleep.has(cell) && cell.inFlight === 0);
      const latestAsleep = Math.max(...[...asleep].map(({ lastUseMs }) => lastUseMs));
      for (const { lastUseMs } of awake) expect(lastUseMs).toBeGreaterThanOrEqual(latestAsleep);
    }),
  );
});

test("memory policy: no more than needed are put to sleep", () => {
  fc.assert(
    fc.property(someCells, someBudget, (cells, budget) => {
      const asleep = chooseSleepers(cells, budget);
      if (asleep.length === 0) return;
      expect(bytesOf(cells) - bytesOf(asleep.slice(0, -1))).toBeGreaterThan(budget);
    }),
  );
});
