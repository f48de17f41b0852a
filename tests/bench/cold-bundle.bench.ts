import { setTimeout as wait } from "node:timers/promises";
import { request } from "undici";
import { BareWorkerd } from "./bare-workerd.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { deployAll, joinBenchNode, settled, startBenchAtoll } from "./fleet.ts";
import { median, percentile } from "./statistics.ts";

const SAMPLES = 30;
const BUNDLE_BYTES = 1024 * 1024;
// Long enough for the pool to have a new zygote in place of the one that was taken.
const PAUSE_MS = 250;
// What Atoll promises against workerd as it comes, which has to start its process as well.
const RATIO_MAX = 1.5;

/** The first request to a worker of 1 MB, in turn with the start of workerd as it comes on the same code. */
export const coldBundle: Benchmark = {
  name: "cold-bundle",
  subject:
    "first request to a worker of 1 MB that has no process, beside the start of stock workerd",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const workers = Array.from({ length: SAMPLES }, (_, index) => `bundle-${index}`);
    await deployAll(
      atoll,
      workers.map((name) => ({ name, source: bundleOf(name) })),
    );
    await settled(atoll);
    const node = await joinBenchNode(resources, atoll);
    const samples = { atoll: [] as number[], stock: [] as number[] };
    for (const worker of workers) {
      await wait(PAUSE_MS);
      const begunMs = performance.now();
      const { body, headers } = await node.get(worker, "/");
      samples.atoll.push(performance.now() - begunMs);
      if (body !== worker) throw new Error(`${worker} answered ${body}`);
      if (headers["x-atoll-cold"] === undefined) throw new Error(`${worker} was warm already`);
      samples.stock.push(await startStock(worker));
    }
    const ratios = samples.atoll.map((ms, index) => ms / (samples.stock[index] ?? Number.NaN));
    return {
      settings: { samples: SAMPLES, bundleBytes: BUNDLE_BYTES, pauseMs: PAUSE_MS },
      figures: [
        { name: "cold, 1 MB, at the client, p50", value: median(samples.atoll), unit: "ms" },
        {
          name: "cold, 1 MB, at the client, p99",
          value: percentile(samples.atoll, 0.99),
          unit: "ms",
        },
        {
          name: "stock workerd, 1 MB, from its start to its answer, p50",
          value: median(samples.stock),
          unit: "ms",
        },
        { name: "cold / stock, p50", value: median(ratios), unit: "×", atMost: RATIO_MAX },
      ],
      samples,
    };
  },
};

/** Milliseconds from the start of workerd to the end of its first answer. */
async function startStock(worker: string): Promise<number> {
  await using resources = new AsyncDisposableStack();
  const stock = await BareWorkerd.start(resources, { source: bundleOf(worker) });
  const begunMs = performance.now();
  const { body } = await request(stock.url);
  await body.text();
  return stock.startMs + performance.now() - begunMs;
}

/** Code as bundlers write it: many functions, of which few are called. */
function bundleOf(name: string): string {
  const functions: string[] = [];
  for (let bytes = 0, index = 0; bytes < BUNDLE_BYTES; index += 1) {
    const text = `function part${index}(value) {
  if (value.length > ${index}) return value.slice(0, ${index}) + "part of ${name}";
  return [...value].map((each) => each.codePointAt(0) * ${index}).filter((each) => each % 2 === 1);
}
`;
    functions.push(text);
    bytes += text.length;
  }
  const parts = functions.map((_, index) => `part${index}`);
  return `${functions.join("")}const parts = [${parts.join(", ")}];
export default { fetch: () => new Response(parts.length > 0 ? "${name}" : "") };`;
}
