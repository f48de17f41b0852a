import { statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { defaultKvBudget } from "./kv-budget.ts";

test("key-value budget: three nodes of a machine leave most of its disk to others", async () => {
  const { blocks, bsize } = await statfs(tmpdir());
  const budget = await defaultKvBudget(tmpdir());
  expect(budget).toBeGreaterThanOrEqual(LIMITS.kvBudgetBytesMin);
  expect(budget * 3).toBeLessThanOrEqual(
    Math.max(3 * LIMITS.kvBudgetBytesMin, (blocks * bsize) / 2),
  );
});
