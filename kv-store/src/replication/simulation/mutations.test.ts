import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MUTATIONS } from "./mutations.ts";

test("simulation: every deliberate bug has its place in the core, and only one", async () => {
  const sources = join(import.meta.dirname, "../..");
  for (const { name, file, find } of MUTATIONS) {
    const text = await readFile(join(sources, file), "utf8");
    expect(text.split(find).length - 1, name).toBe(1);
  }
  expect(MUTATIONS.length).toBeGreaterThan(20);
});
