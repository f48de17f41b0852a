import { defaultMemoryBudget } from "@atoll/edge-runtime/memory-budget";
import { expect, test } from "vitest";
import { parseMemoryBudget, parsePort } from "../options.ts";
import { LOCAL_REGIONS } from "../settings.ts";
import { nodeArguments } from "./node-arguments.ts";

const SETTINGS = {
  dataDirectory: "/data",
  databaseUrl: undefined,
  blobStore: undefined,
  port: 4400,
  metricsPort: undefined,
};
const MIB = 1024 * 1024;

function valuesOf(option: string, settings: Parameters<typeof nodeArguments>[1]): string[] {
  return LOCAL_REGIONS.map((region) => {
    const all = nodeArguments(region, settings);
    const index = all.indexOf(option);
    return index === -1 ? "" : (all[index + 1] ?? "");
  });
}

test("up: its nodes divide between them what one node would take of this machine", () => {
  const budgets = valuesOf("--memory-budget", SETTINGS).map(parseMemoryBudget);
  expect(new Set(budgets).size).toBe(1);
  const sum = budgets.reduce((total, each) => total + each, 0);
  expect(sum).toBeLessThanOrEqual(defaultMemoryBudget() / MIB);
  expect(sum).toBeGreaterThan(defaultMemoryBudget() / MIB - 2 * LOCAL_REGIONS.length);
});

test("up: each node has ports of its own, and tells metrics only where that is asked for", () => {
  expect(valuesOf("--port", SETTINGS).map(parsePort)).toEqual([4401, 4402, 4403]);
  expect(valuesOf("--metrics-port", SETTINGS)).toEqual(["", "", ""]);
  const metricsPorts = valuesOf("--metrics-port", { ...SETTINGS, metricsPort: 9401 });
  expect(metricsPorts.map(parsePort)).toEqual([9401, 9402, 9403]);
});
