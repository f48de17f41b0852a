import { availableParallelism } from "node:os";
import { expect, test } from "vitest";
import { allowedCores, parseCores } from "./allowed-cores.ts";

test("allowed cores: as many as there are for this process", () => {
  expect(allowedCores()).toHaveLength(availableParallelism());
});

test.each([
  ["0", [0]],
  ["0-3", [0, 1, 2, 3]],
  ["0-1,4,6-7", [0, 1, 4, 6, 7]],
  ["", []],
])("allowed cores: the kernel's list %j", (list, cores) => {
  expect(parseCores(list)).toEqual(cores);
});
