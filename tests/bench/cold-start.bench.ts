import { setTimeout as wait } from "node:timers/promises";
import type { TestAtoll } from "../support/atoll.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { deploy, hostOf, settled, startBenchAtoll } from "./fleet.ts";
import { median, percentile } from "./statistics.ts";

const SAMPLES = 120;
// A few at a time, as many developers would: one after the other would take minutes.
const DEPLOYS_AT_A_TIME = 4;
// Long enough for the pool to have a new zygote in place of the one that was taken.
const PAUSE_MS = 150;
// What the platform promises at this stage for the median.
const TARGET_MS = 30;

/** The first request to a worker that has no process, at the client, on an open connection. */
export const coldStart: Benchmark = {
  name: "cold-start",
  subject: "first request to a worker that has no process, one region",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const workers = Array.from({ length: SAMPLES }, (_, index) => `cold-${index}`);
    await deployAll(atoll, workers);
    await settled(atoll);
    // Opens the connection, so that no sample pays for that.
    await atoll.get("fra", "nobody.localhost", "/");
    const samples = { cold: [] as number[], coldHeader: [] as number[], warm: [] as number[] };
    for (const worker of workers) {
      await wait(PAUSE_MS);
      const cold = await timedRequest(atoll, worker);
      if (cold.coldMs === undefined) throw new Error(`${worker} was warm before its first request`);
      samples.cold.push(cold.wallMs);
      samples.coldHeader.push(cold.coldMs);
      samples.warm.push((await timedRequest(atoll, worker)).wallMs);
    }
    return {
      settings: { samples: SAMPLES, pauseMs: PAUSE_MS },
      figures: [
        {
          name: "cold, at the client, p50",
          value: median(samples.cold),
          unit: "ms",
          atMost: TARGET_MS,
        },
        { name: "cold, at the client, p99", value: percentile(samples.cold, 0.99), unit: "ms" },
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

async function deployAll(atoll: TestAtoll, workers: ReadonlyArray<string>): Promise<void> {
  const left = [...workers];
  const deployNext = async (): Promise<void> => {
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      const source = `export default { fetch: () => new Response("${name}") };`;
      await deploy(atoll, { name, source });
    }
  };
  await Promise.all(Array.from({ length: DEPLOYS_AT_A_TIME }, deployNext));
}

async function timedRequest(
  atoll: TestAtoll,
  worker: string,
): Promise<{ readonly wallMs: number; readonly coldMs: number | undefined }> {
  const startedAt = performance.now();
  const { body, headers } = await atoll.get("fra", hostOf(worker), "/");
  const wallMs = performance.now() - startedAt;
  if (body !== worker) throw new Error(`${worker} answered ${body}`);
  const header = headers["x-atoll-cold"];
  return { wallMs, coldMs: header === undefined ? undefined : Number(header) };
}
