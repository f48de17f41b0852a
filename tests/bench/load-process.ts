// The process behind `LoadGenerator`: takes plans as messages, answers each with its result.
import { setTimeout as wait } from "node:timers/promises";
import { HttpConnection } from "./http-connection.ts";
import type { LoadPlan, LoadResult } from "./load-generator.ts";

// Enough to see what is wrong; a server that fails at all fails a million times.
const FAILURES_SHOWN_MAX = 5;

async function generate(plan: LoadPlan): Promise<LoadResult> {
  const latenciesMs: number[] = [];
  const failures: string[] = [];
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const endsAt = startedAt + plan.durationMs;
  let started = 0;
  const client = async (_: unknown, index: number): Promise<void> => {
    const host = plan.hosts[index % plan.hosts.length] ?? "";
    using connection = new HttpConnection({ url: plan.url, host, headers: plan.headers ?? [] });
    while (started < plan.requestsMax && performance.now() < endsAt) {
      started += 1;
      const sentAt = performance.now();
      try {
        const { status, isCold } = await connection.get();
        if (status !== 200 || isCold) failures.push(isCold ? "cold" : `status ${status}`);
      } catch (error) {
        failures.push(String(error));
      }
      latenciesMs.push(performance.now() - sentAt);
      if (plan.pauseMs !== undefined) await wait(plan.pauseMs);
    }
  };
  await Promise.all(Array.from({ length: plan.connections }, client));
  const durationMs = performance.now() - startedAt;
  const cpu = process.cpuUsage(cpuBefore);
  return {
    requests: started,
    durationMs,
    failures: failures.slice(0, FAILURES_SHOWN_MAX),
    latenciesMs,
    cpuMs: (cpu.user + cpu.system) / 1_000,
  };
}

process.on("message", (plan: LoadPlan) => {
  void generate(plan).then((result) => process.send?.(result));
});
// The channel closes with the process that asked for load: nothing of this one outlives it.
process.on("disconnect", () => process.exit());
