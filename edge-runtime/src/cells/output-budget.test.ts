import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { OutputBudget } from "./output-budget.ts";

const KIB = "x".repeat(1024 - LIMITS.cellOutputLineExtraBytes);
const AT_ONCE = LIMITS.cellOutputBytes / 1024;

function linesTaken(budget: OutputBudget, line: string, nowMs: number): number {
  let taken = 0;
  while (budget.takes(line, nowMs)) taken += 1;
  return taken;
}

test("output budget: so much is kept at once, then as much as comes back with time", () => {
  const budget = new OutputBudget(0);
  expect(linesTaken(budget, KIB, 0)).toBe(AT_ONCE);
  expect(linesTaken(budget, KIB, 1_000)).toBe(LIMITS.cellOutputBytesPerSecond / 1024);
  expect(linesTaken(budget, KIB, 3_600_000)).toBe(AT_ONCE);
});

test("output budget: what is left out is counted, until it is asked for", () => {
  const budget = new OutputBudget(0);
  linesTaken(budget, KIB, 0);
  expect(budget.takes(KIB, 1)).toBe(false);
  expect(budget.takeOmitted()).toBe(2);
  expect(budget.takeOmitted()).toBe(0);
});

test("output budget: empty lines come to an end as well", () => {
  const budget = new OutputBudget(0);
  expect(linesTaken(budget, "", 0)).toBe(LIMITS.cellOutputBytes / LIMITS.cellOutputLineExtraBytes);
});
