import { join } from "node:path";
import { defaultMemoryBudget } from "@atoll/edge-runtime/memory-budget";
import { MEMORY_BUDGET_MB } from "../options.ts";
import { LOCAL_REGIONS, type Settings } from "../settings.ts";

const MIB = 1024 * 1024;

/** The arguments of `atoll` for each node of `atoll up`. They share this machine's memory evenly. */
export function nodeArguments(
  region: (typeof LOCAL_REGIONS)[number],
  { dataDirectory, port, metricsPort }: Settings,
): ReadonlyArray<string> {
  const index = LOCAL_REGIONS.indexOf(region);
  const megabytes = Math.floor(defaultMemoryBudget(LOCAL_REGIONS.length) / MIB);
  return [
    "node",
    ...["--data", nodeData(dataDirectory, region)],
    ...["--name", region],
    ...["--region", region],
    ...["--port", String(port + 1 + index)],
    ...["--control-plane", `http://127.0.0.1:${port}`],
    ...["--memory-budget", String(Math.max(MEMORY_BUDGET_MB.min, megabytes))],
    ...(metricsPort === undefined ? [] : ["--metrics-port", String(metricsPort + index)]),
  ];
}

/** Where a node of `atoll up` keeps what it has. */
export function nodeData(dataDirectory: string, region: string): string {
  return join(dataDirectory, "nodes", region);
}
