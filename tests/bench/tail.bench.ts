import { once } from "node:events";
import WebSocket from "ws";
import type { TestAtoll } from "../support/atoll.ts";
import { accountPath } from "../support/refusal.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { deploy, hostOf, settled, startBenchAtoll, warmUp } from "./fleet.ts";
import { LoadGenerator } from "./load-generator.ts";
import { median } from "./statistics.ts";

const WORKER = {
  name: "hello",
  source: `export default { fetch() { return new Response("hello"); } };`,
};
const CONNECTIONS = 16;
const ROUNDS = 5;
const ROUND_MS = 4_000;
// What Atoll promises of a node with a watcher.
const THROUGHPUT_MIN = 0.9;

/** The same load on a node without and with a watcher, in turn. */
export const tail: Benchmark = {
  name: "tail",
  subject: "throughput of a worker that somebody watches, against the same without a watcher",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    await deploy(atoll, WORKER);
    await warmUp(atoll, WORKER.name, "hello");
    await settled(atoll);
    const generator = resources.use(new LoadGenerator());
    const plan = {
      url: atoll.regions.fra.url,
      hosts: [hostOf(WORKER.name)],
      connections: CONNECTIONS,
      requestsMax: 10_000_000,
      durationMs: ROUND_MS,
    };
    await generator.run(plan);
    const samples = { alone: [] as number[], watched: [] as number[] };
    const failures: string[] = [];
    let [events, notices] = [0, 0];
    for (let round = 0; round < ROUNDS; round += 1) {
      const alone = await generator.run(plan);
      const watcher = await watch(atoll);
      const watched = await generator.run(plan);
      watcher.end();
      events += watcher.counts.events;
      notices += watcher.counts.notices;
      failures.push(...alone.failures, ...watched.failures);
      samples.alone.push((1_000 * alone.requests) / alone.durationMs);
      samples.watched.push((1_000 * watched.requests) / watched.durationMs);
    }
    if (failures.length > 0) console.error(`tail: the first failure: ${failures[0]}`);
    const ratios = samples.watched.map((rate, round) => rate / (samples.alone[round] ?? Infinity));
    return {
      settings: { connections: CONNECTIONS, rounds: ROUNDS, roundMs: ROUND_MS },
      figures: [
        { name: "nobody watches", value: median(samples.alone), unit: "requests/s" },
        { name: "somebody watches", value: median(samples.watched), unit: "requests/s" },
        {
          name: "watched / unwatched, median of the rounds",
          value: median(ratios),
          unit: "×",
          atLeast: THROUGHPUT_MIN,
        },
        { name: "failed", value: failures.length, unit: "count", atMost: 0 },
        { name: "events told, in all rounds", value: events, unit: "count", atLeast: ROUNDS },
        { name: "notices of sampling", value: notices, unit: "count", atLeast: ROUNDS },
      ],
      samples,
    };
  },
};

interface BenchWatcher {
  readonly counts: { events: number; notices: number };
  end(): void;
}

/** Watches as wrangler does, without its process: that would take a core of a machine that has two. */
async function watch(atoll: TestAtoll): Promise<BenchWatcher> {
  const path = accountPath(atoll, `/workers/scripts/${WORKER.name}/tails`);
  const { body } = await atoll.api(path, { method: "POST", body: '{"filters":[]}' });
  const { result } = JSON.parse(body) as { readonly result: { readonly url: string } };
  const socket = new WebSocket(result.url, "trace-v1");
  await once(socket, "open");
  const counts = { events: 0, notices: 0 };
  socket.on("message", (data: Buffer) => {
    const { event } = JSON.parse(data.toString()) as { readonly event: { type?: string } | null };
    if (event?.type === "overload") counts.notices += 1;
    else counts.events += 1;
  });
  return { counts, end: () => socket.terminate() };
}
