import { setTimeout as wait } from "node:timers/promises";
import type { ExtraNode } from "../support/extra-node.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { deployAll, joinBenchNode, settled, startBenchAtoll } from "./fleet.ts";
import { median, percentile } from "./statistics.ts";

const SAMPLES = 120;
// Long enough for the pool to have a new zygote in place of the one that was taken.
const PAUSE_MS = 150;
// What the platform promises on a quiet machine.
const TARGET_MS = { p50: 20, p99: 60 } as const;

/** The first request to a worker that has no process, at the client, on an open connection. */
export const coldStart: Benchmark = {
  name: "cold-start",
  subject: "first request to a worker that has no process, on a node that just joined",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const workers = Array.from({ length: SAMPLES }, (_, index) => `cold-${index}`);
    await deployAll(
      atoll,
      workers.map((name) => ({ name, source: sourceOf(name) })),
    );
    await settled(atoll);
    const node = await joinBenchNode(resources, atoll);
    const samples = { cold: [] as number[], coldHeader: [] as number[], warm: [] as number[] };
    for (const worker of workers) {
      await wait(PAUSE_MS);
      const cold = await timedRequest(node, worker);
      if (cold.coldMs === undefined) throw new Error(`${worker} was warm before its first request`);
      samples.cold.push(cold.wallMs);
      samples.coldHeader.push(cold.coldMs);
      samples.warm.push((await timedRequest(node, worker)).wallMs);
    }
    return {
      settings: { samples: SAMPLES, pauseMs: PAUSE_MS },
      figures: [
        {
          name: "cold, at the client, p50",
          value: median(samples.cold),
          unit: "ms",
          atMost: TARGET_MS.p50,
        },
        {
          name: "cold, at the client, p99",
          value: percentile(samples.cold, 0.99),
          unit: "ms",
          atMost: TARGET_MS.p99,
        },
        { name: "cold, x-atoll-cold, p50", value: median(samples.coldHeader), unit: "ms" },
        {
          name: "cold, x-atoll-cold, p99",
          value: percentile(samples.coldHeader, 0.99),
          unit: "ms",
        },
        { name: "second request, at the client, p50", value: median(samples.warm), unit: "ms" },
      ],
      samples,
    };
  },
};

function sourceOf(name: string): string {
  return `export default { fetch: () => new Response("${name}") };`;
}

async function timedRequest(
  node: ExtraNode,
  worker: string,
): Promise<{ readonly wallMs: number; readonly coldMs: number | undefined }> {
  const startedAt = performance.now();
  const { body, headers } = await node.get(worker, "/");
  const wallMs = performance.now() - startedAt;
  if (body !== worker) throw new Error(`${worker} answered ${body}`);
  const header = headers["x-atoll-cold"];
  return { wallMs, coldMs: header === undefined ? undefined : Number(header) };
}
