import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { request } from "undici";
import { BareWorkerd } from "./bare-workerd.ts";
import { hold, type Benchmark, type Figure, type Outcome } from "./benchmark.ts";
import { ask, deployWithNamespace, settled, startBenchAtoll } from "./fleet.ts";
import { keyName, NAMESPACE, openOrigin, putOf, temporaryDirectory } from "./kv-place.ts";
import { ReplicaProcess, serveOrigin } from "./replica-processes.ts";
import { mean, median, percentile } from "./statistics.ts";

const ROUNDS = 20;
const BATCHES = 10;
// A worker's clock has steps of 1 ms and moves only with I/O, so a single call can't be timed to less.
// A batch of this many calls, one after the other, gives the time of each to 1/200 ms.
const CALLS = 200;
const VALUE_BYTES = 1_024;
const KEYS = 100;
const RATIO_MAX = 1.4;
const CALL_MS_MAX = 2;
const CAPABILITY = "bench";
const EMPTY_SERVER = new URL("./empty-server.ts", import.meta.url);

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

// The keys are named as `keyName` does.
const GET = `timeBatches(async (index) => {
  const value = await env.KV.get("key/" + String(index % ${KEYS}).padStart(7, "0"));
  if (value?.length !== ${VALUE_BYTES}) throw new Error("a key has another value");
})`;

/** One worker makes both kinds of calls, so that nothing but what it calls is different. */
const BOTH_SOURCE = `${TIMER}
export default { fetch(request, env) {
  if (new URL(request.url).pathname === "/get") return ${GET};
  return timeBatches(async () => {
    const response = await env.EXTERNAL.fetch("http://external/");
    await response.arrayBuffer();
  });
} };`;

const CELL_SOURCE = `${TIMER}
export default { async fetch(request, env) {
  const { pathname } = new URL(request.url);
  if (pathname === "/") return new Response("ready");
  if (pathname === "/get") return ${GET};
  for (let key = 0; key < ${KEYS}; key += 1) {
    await env.KV.put("key/" + String(key).padStart(7, "0"), "x".repeat(${VALUE_BYTES}));
  }
  return new Response("filled");
} };`;

interface Timing {
  readonly batches: ReadonlyArray<number>;
  readonly calls: ReadonlyArray<number>;
}

/**
 * What a read costs a worker, beside the least that leaving a worker can cost: the same worker, in the same workerd, calls
 * a node's store and a server that answers with nothing, each a process of Node at the other end of a unix
 * socket. Beside that, the same read in a whole Atoll, where the worker is confined.
 */
export const kvGet: Benchmark = {
  name: "kv-get",
  subject: `env.KV.get of ${VALUE_BYTES} bytes in a worker, beside an empty subrequest to a unix socket`,
  run: async (resources): Promise<Outcome> => {
    const bare = await startBare(resources);
    const time = async (path: string): Promise<Timing> =>
      (await (await request(`${bare.url}${path}`)).body.json()) as Timing;
    const inCell = await startCell(resources);
    // Compiles what every call runs through, on all sides.
    await Promise.all([time("/get"), time("/empty"), inCell()]);
    const gets: Timing[] = [];
    const subrequests: Timing[] = [];
    const cellGets: Timing[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      gets.push(await time("/get"));
      subrequests.push(await time("/empty"));
      cellGets.push(await inCell());
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
        ...figuresOf("KV.get in a cell of Atoll", cellGets, CALL_MS_MAX),
      ],
      samples: {
        "KV.get: ms per batch": gets.flatMap(({ batches }) => batches),
        "empty subrequest: ms per batch": subrequests.flatMap(({ batches }) => batches),
        "KV.get in a cell of Atoll: ms per batch": cellGets.flatMap(({ batches }) => batches),
      },
    };
  },
};

/** A workerd with a node's store on one side and a server that answers with nothing on the other. */
async function startBare(resources: AsyncDisposableStack): Promise<BareWorkerd> {
  const directory = await temporaryDirectory(resources);
  const origin = await openOrigin(resources, directory);
  const value = Buffer.alloc(VALUE_BYTES, "x");
  await origin.write(
    NAMESPACE,
    Array.from({ length: KEYS }, (_, key) => putOf(keyName(key), value)),
  );
  const kv = { socketPath: join(directory, "kv.sock"), capability: CAPABILITY };
  await ReplicaProcess.start(resources, {
    directory: join(directory, "node"),
    url: await serveOrigin(resources, origin),
    replicas: 1,
    front: kv,
  });
  const externalSocketPath = join(directory, "empty.sock");
  await startEmptyServer(resources, externalSocketPath);
  return BareWorkerd.start(resources, { source: BOTH_SOURCE, externalSocketPath, kv });
}

async function startEmptyServer(resources: AsyncDisposableStack, path: string): Promise<void> {
  await hold(
    resources,
    async () => {
      const child = fork(EMPTY_SERVER, [path]);
      await once(child, "message");
      return child;
    },
    async (child) => void child.kill("SIGKILL"),
  );
}

/** Times reads of a worker that runs as all do on a node. */
async function startCell(resources: AsyncDisposableStack): Promise<() => Promise<Timing>> {
  const atoll = await startBenchAtoll(resources);
  await deployWithNamespace(atoll, { name: "reader", source: CELL_SOURCE });
  await ask(atoll, "fra", { worker: "reader", path: "/fill" });
  await settled(atoll);
  return async () =>
    JSON.parse(await ask(atoll, "fra", { worker: "reader", path: "/get" })) as Timing;
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
