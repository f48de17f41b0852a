import { totalmem } from "node:os";
import { expect, test } from "vitest";
import { defaultMemoryBudget } from "./memory-budget.ts";

test("memory budget: is a part of the memory that there is", () => {
  expect(defaultMemoryBudget()).toBeGreaterThan(64 * 1024 * 1024);
  expect(defaultMemoryBudget()).toBeLessThanOrEqual(totalmem() / 2);
});

test("memory budget: of nodes on one machine is one for all of them", () => {
  const third = defaultMemoryBudget(3);
  expect(third * 3).toBeLessThanOrEqual(defaultMemoryBudget());
  expect((third + 1) * 3).toBeGreaterThan(defaultMemoryBudget() - 3);
});
