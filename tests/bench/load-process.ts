// The process behind `LoadGenerator`: takes plans as messages, answers each with its result.
import { Pool } from "undici";
import type { LoadPlan, LoadResult } from "./load-generator.ts";

// Enough to see what is wrong; a server that fails at all fails a million times.
const FAILURES_SHOWN_MAX = 5;

// A request that takes this long is counted as failed: the stretch ends soon after its bound.
const ANSWER_MS_MAX = 5_000;

interface Answer {
  readonly status: number;
  readonly isCold: boolean;
}

async function generate(plan: LoadPlan): Promise<LoadResult> {
  const pool = new Pool(plan.url, {
    connections: plan.connections,
    pipelining: 1,
    headersTimeout: ANSWER_MS_MAX,
    bodyTimeout: ANSWER_MS_MAX,
  });
  const latenciesMs: number[] = [];
  const failures: string[] = [];
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const endsAt = startedAt + plan.durationMs;
  let started = 0;
  const client = async (): Promise<void> => {
    while (started < plan.requestsMax && performance.now() < endsAt) {
      started += 1;
      const sentAt = performance.now();
      try {
        const { status, isCold } = await send(pool, plan.host);
        if (status !== 200 || isCold) failures.push(isCold ? "cold" : `status ${status}`);
      } catch (error) {
        failures.push(String(error));
      }
      latenciesMs.push(performance.now() - sentAt);
    }
  };
  await Promise.all(Array.from({ length: plan.connections }, client));
  const durationMs = performance.now() - startedAt;
  const cpu = process.cpuUsage(cpuBefore);
  await pool.destroy();
  return {
    requests: started,
    durationMs,
    failures: failures.slice(0, FAILURES_SHOWN_MAX),
    latenciesMs,
    cpuMs: (cpu.user + cpu.system) / 1_000,
  };
}

/** The leanest way that undici has: a generator that costs more than the server measures itself. */
function send(pool: Pool, host: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let answer: Answer = { status: 0, isCold: false };
    pool.dispatch(
      { path: "/", method: "GET", headers: { host } },
      {
        onRequestStart: () => undefined,
        onResponseStart: (_controller, status, headers) => {
          answer = { status, isCold: headers["x-atoll-cold"] !== undefined };
        },
        onResponseData: () => undefined,
        onResponseEnd: () => resolve(answer),
        onResponseError: (_controller, error) => reject(error),
      },
    );
  });
}

process.on("message", (plan: LoadPlan) => {
  void generate(plan).then((result) => process.send?.(result));
});
// The channel closes with the process that asked for load: nothing of this one outlives it.
process.on("disconnect", () => process.exit());
