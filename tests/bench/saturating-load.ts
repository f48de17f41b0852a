import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { readChildrenCpuMs } from "./process-cpu.ts";

/** Load as fast as the answers come, over connections that are kept. */
export interface SaturatingPlan {
  readonly url: string;
  readonly host: string;
  /** Further header lines of each request. */
  readonly headers: ReadonlyArray<string>;
  readonly connections: number;
  readonly durationMs: number;
}

export interface SaturatingResult {
  readonly requests: number;
  readonly durationMs: number;
  readonly p99Ms: number;
  /** Answers above 399, and what failed of the connections. */
  readonly failed: number;
  /** What the generator itself used: near `durationMs`, it was the bottleneck. */
  readonly cpuMs: number;
}

const SCRIPT = join(import.meta.dirname, "saturating-load.lua");
/**
 * Runs `wrk`, which takes a fraction of the CPU of any server here: what is measured is theirs. Nothing
 * else of this process may end a child meanwhile, or its CPU counts as the generator's.
 */
export async function saturate(plan: SaturatingPlan): Promise<SaturatingResult> {
  const { url, host, headers, connections, durationMs } = plan;
  const before = await readChildrenCpuMs();
  const { stdout } = await promisify(execFile)("wrk", [
    ...["--threads", "1", "--connections", String(connections)],
    ...["--duration", `${Math.ceil(durationMs / 1_000)}s`, "--script", SCRIPT],
    ...["--header", `Host: ${host}`],
    ...headers.flatMap((line) => ["--header", line]),
    url,
  ]);
  const lines = stdout.trim().split("\n");
  // The line is of our own script.
  const summary = JSON.parse(lines.at(-1) ?? "") as Omit<SaturatingResult, "cpuMs">;
  return { ...summary, cpuMs: (await readChildrenCpuMs()) - before };
}
