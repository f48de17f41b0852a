import { performance } from "node:perf_hooks";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { ask, deployWithNamespace, settled, startBenchAtoll } from "./fleet.ts";
import { median, percentile } from "./statistics.ts";

const SAMPLES = 250;
const WRITER = "fra";
const READERS = ["iad", "nrt"] as const;
// The promise on a healthy network.
const VISIBLE_MS = 1_000;
// Between two looks of a waiting worker, which takes the machine from the parts that it waits for.
const LOOK_MS = 1;

/**
 * `/put/<key>/<value>` answers when the write was acknowledged; `/await/<key>/<value>` when this region
 * shows the value. Waiting inside the worker sees it sooner than asking again and again from outside.
 */
const SOURCE = `export default { async fetch(request, env) {
  const [, action, key, value] = new URL(request.url).pathname.split("/");
  if (action === "put") {
    await env.KV.put(key, value);
    return new Response("acknowledged");
  }
  if (action !== "await") return new Response("ready");
  for (let look = 0; look < 5_000; look += 1) {
    if ((await env.KV.get(key)) === value) return new Response("visible");
    await scheduler.wait(${LOOK_MS});
  }
  return new Response("never became visible", { status: 504 });
} };`;

/** From the acknowledgement of a put to a get elsewhere that shows it. */
export const kvPropagation: Benchmark = {
  name: "kv-propagation",
  subject: "acknowledged env.KV.put in one region to visible in the two others",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const worker = "propagated";
    await deployWithNamespace(atoll, { name: worker, source: SOURCE });
    await settled(atoll);
    const samples = { put: [] as number[], visible: [] as number[] };
    // The first round opens connections and compiles code: it is no sample.
    for (let round = 0; round <= SAMPLES; round += 1) {
      const path = `key/${round}`;
      const visible = READERS.map(async (region) => {
        await ask(atoll, region, { worker, path: `/await/${path}` });
        return performance.now();
      });
      const startedAt = performance.now();
      await ask(atoll, WRITER, { worker, path: `/put/${path}` });
      const acknowledgedAt = performance.now();
      const seenAt = await Promise.all(visible);
      if (round === 0) continue;
      samples.put.push(acknowledgedAt - startedAt);
      // Nodes may well show a write before its writer has heard of it: then it was there at once.
      samples.visible.push(...seenAt.map((at) => Math.max(0, at - acknowledgedAt)));
    }
    return {
      settings: { puts: SAMPLES, readingRegions: READERS.length, lookMs: LOOK_MS },
      figures: [
        {
          name: "acknowledged to visible elsewhere, p50",
          value: median(samples.visible),
          unit: "ms",
        },
        {
          name: "acknowledged to visible elsewhere, p99",
          value: percentile(samples.visible, 0.99),
          unit: "ms",
          atMost: VISIBLE_MS,
        },
        { name: "put to acknowledged, at the client, p50", value: median(samples.put), unit: "ms" },
        {
          name: "put to acknowledged, at the client, p99",
          value: percentile(samples.put, 0.99),
          unit: "ms",
        },
      ],
      samples,
    };
  },
};
