import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { request } from "undici";
import { BareWorkerd } from "./bare-workerd.ts";
import type { Benchmark, Figure, Outcome } from "./benchmark.ts";
import { ask, deployWithNamespace, settled, startBenchAtoll } from "./fleet.ts";
import { mean, median, percentile } from "./statistics.ts";

const ROUNDS = 20;
const BATCHES = 20;
// A worker's clock has steps of 1 ms and moves only with I/O, so a single call can't be timed to less.
// A batch of this many calls, one after the other, gives the time of each to 1/50 ms.
const CALLS = 50;
const VALUE_BYTES = 1_024;
const KEYS = 100;
const RATIO_MAX = 1.4;
const CALL_MS_MAX = 2;

/** Answers the milliseconds of each batch of calls, and of each call as far as the clock tells. */
const TIMER = `async function timeBatches(call) {
  const batches = [];
  const calls = [];
  for (let batch = 0; batch < ${BATCHES}; batch += 1) {
    const startedAt = performance.now();
    for (let index = 0; index < ${CALLS}; index += 1) {
      const calledAt = performance.now();
      await call(batch * ${CALLS} + index);
      calls.push(performance.now() - calledAt);
    }
    batches.push(performance.now() - startedAt);
  }
  return Response.json({ batches, calls });
}`;

const KV_SOURCE = `${TIMER}
export default { async fetch(request, env) {
  const { pathname } = new URL(request.url);
  if (pathname === "/") return new Response("ready");
  if (pathname === "/fill") {
    for (let key = 0; key < ${KEYS}; key += 1) await env.KV.put("key-" + key, "x".repeat(${VALUE_BYTES}));
    return new Response("filled");
  }
  return timeBatches(async (index) => {
    const value = await env.KV.get("key-" + (index % ${KEYS}));
    if (value?.length !== ${VALUE_BYTES}) throw new Error("a key has another value");
  });
} };`;

const SUBREQUEST_SOURCE = `${TIMER}
export default { fetch: (request, env) => timeBatches(async () => {
  const response = await env.EXTERNAL.fetch("http://external/");
  await response.arrayBuffer();
}) };`;

interface Timing {
  readonly batches: ReadonlyArray<number>;
  readonly calls: ReadonlyArray<number>;
}

/** What a read costs a worker, beside the least that leaving a worker can cost. */
export const kvGet: Benchmark = {
  name: "kv-get",
  subject: `env.KV.get of ${VALUE_BYTES} bytes in a worker, beside an empty subrequest to a unix socket`,
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    await deployWithNamespace(atoll, { name: "reader", source: KV_SOURCE });
    await ask(atoll, "fra", { worker: "reader", path: "/fill" });
    await settled(atoll);
    const bare = await BareWorkerd.start(resources, {
      source: SUBREQUEST_SOURCE,
      externalSocketPath: await listenEmpty(resources),
    });
    const get = async (): Promise<Timing> =>
      JSON.parse(await ask(atoll, "fra", { worker: "reader", path: "/get" })) as Timing;
    const subrequest = async (): Promise<Timing> =>
      (await (await request(bare.url)).body.json()) as Timing;
    // Compiles what every call runs through, on both sides.
    await get();
    await subrequest();
    const gets: Timing[] = [];
    const subrequests: Timing[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      gets.push(await get());
      subrequests.push(await subrequest());
    }
    return {
      settings: {
        rounds: ROUNDS,
        batchesPerRound: BATCHES,
        callsPerBatch: CALLS,
        valueBytes: VALUE_BYTES,
        keys: KEYS,
      },
      figures: [
        ...figuresOf("KV.get", gets, CALL_MS_MAX),
        ...figuresOf("empty subrequest", subrequests),
        {
          name: "KV.get / empty subrequest: p50 of the batches of a round",
          value: median(gets.map((get, round) => middle(get) / middle(subrequests[round]))),
          unit: "×",
          atMost: RATIO_MAX,
        },
      ],
      samples: {
        "KV.get: ms per batch": gets.flatMap(({ batches }) => batches),
        "empty subrequest: ms per batch": subrequests.flatMap(({ batches }) => batches),
      },
    };
  },
};

/** The least that a server can do: an empty answer on a unix socket. */
async function listenEmpty(resources: AsyncDisposableStack): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "empty-server-"));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  const path = join(directory, "empty.sock");
  const server = createServer((_incoming, outgoing) => outgoing.end());
  // Longer than the pauses between rounds, so that no call opens a connection.
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(path, resolve));
  resources.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return path;
}

/** Milliseconds per call of a round. */
function middle(timing: Timing | undefined): number {
  return timing === undefined ? Number.NaN : median(timing.batches) / CALLS;
}

function figuresOf(
  name: string,
  timings: ReadonlyArray<Timing>,
  callMsMax?: number,
): ReadonlyArray<Figure> {
  const perCall = timings.flatMap(({ batches }) => batches.map((batch) => batch / CALLS));
  const calls = timings.flatMap((timing) => timing.calls);
  return [
    { name: `${name}: p50 of batches, per call`, value: median(perCall), unit: "ms" },
    { name: `${name}: p99 of batches, per call`, value: percentile(perCall, 0.99), unit: "ms" },
    { name: `${name}: mean`, value: mean(perCall), unit: "ms" },
    {
      name: `${name}: single call, p99, to 1 ms`,
      value: percentile(calls, 0.99),
      unit: "ms",
      ...(callMsMax === undefined ? {} : { atMost: callMsMax }),
    },
  ];
}
