import type { TestAtoll } from "../support/atoll.ts";
import { createProject } from "../support/project.ts";
import { startWranglerDev } from "../support/wrangler-dev.ts";
import { request } from "undici";
import { BareWorkerd } from "./bare-workerd.ts";
import { hold, type Benchmark, type Outcome } from "./benchmark.ts";
import { ask, deployWithNamespace, settled, startBenchAtoll } from "./fleet.ts";
import { readTreeCpuMs } from "./process-cpu.ts";
import { median } from "./statistics.ts";

const ROUNDS = 15;
const CALLS = 2_000;
const VALUE_BYTES = 1_024;
const KEYS = 100;

const SOURCE = `export default { async fetch(request, env) {
  const { pathname } = new URL(request.url);
  if (pathname === "/") return new Response("ready");
  if (pathname === "/fill") {
    for (let key = 0; key < ${KEYS}; key += 1) await env.KV.put("key-" + key, "x".repeat(${VALUE_BYTES}));
    return new Response("filled");
  }
  for (let index = 0; index < ${CALLS}; index += 1) {
    const value = await env.KV.get("key-" + (index % ${KEYS}));
    if (value?.length !== ${VALUE_BYTES}) throw new Error("a key has another value");
  }
  return new Response("read");
} };`;

/** Somewhere that the worker runs. */
interface Place {
  readonly name: string;
  /** The process of everything that a read needs, and its descendants. */
  readonly pid: number;
  ask(path: string): Promise<string>;
}

interface Sample {
  readonly wallUs: number;
  readonly cpuUs: number;
}

/** A read in a worker, one after another, beside the KV of Miniflare and the one that comes with workerd. */
export const kvPeers: Benchmark = {
  name: "kv-peers",
  subject: `env.KV.get of ${VALUE_BYTES} bytes in a worker, beside Miniflare's KV and workerd's own kv.js`,
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const places = [await inAtoll(atoll), await inMiniflare(resources), await inWorkerd(resources)];
    const samples = new Map<string, Sample[]>(places.map(({ name }) => [name, []]));
    for (const place of places) await place.ask("/fill");
    await settled(atoll);
    // The first round compiles code: it is no sample.
    for (let round = 0; round <= ROUNDS; round += 1) {
      for (const place of places) {
        const sample = await measure(place);
        if (round > 0) samples.get(place.name)?.push(sample);
      }
    }
    const all = [...samples].map(([name, taken]) => ({
      name,
      wallUs: taken.map(({ wallUs }) => wallUs),
      cpuUs: taken.map(({ cpuUs }) => cpuUs),
    }));
    const [ours, ...peers] = all;
    if (ours === undefined) throw new Error("nothing was measured");
    return {
      settings: { rounds: ROUNDS, callsPerRound: CALLS, valueBytes: VALUE_BYTES, keys: KEYS },
      figures: [
        ...all.flatMap(({ name, wallUs, cpuUs }) => [
          { name: `${name}: wall time of a read, p50`, value: median(wallUs), unit: "µs" } as const,
          { name: `${name}: CPU of a read, p50`, value: median(cpuUs), unit: "µs" } as const,
        ]),
        ...peers.flatMap(({ name, wallUs, cpuUs }) => [
          {
            name: `Atoll / ${name}: wall time`,
            value: median(ours.wallUs) / median(wallUs),
            unit: "×",
            atMost: 1,
          } as const,
          {
            name: `Atoll / ${name}: CPU`,
            value: median(ours.cpuUs) / median(cpuUs),
            unit: "×",
            atMost: 1,
          } as const,
        ]),
      ],
      remarks: ["CPU is that of all processes of a place, in steps of 10 ms per round."],
      samples: Object.fromEntries(
        all.flatMap(({ name, wallUs, cpuUs }) => [
          [`${name}: wall µs`, wallUs],
          [`${name}: CPU µs`, cpuUs],
        ]),
      ),
    };
  },
};

async function measure(place: Place): Promise<Sample> {
  const cpuBefore = await readTreeCpuMs(place.pid);
  const startedAt = performance.now();
  await place.ask("/get");
  const wallMs = performance.now() - startedAt;
  const cpuMs = (await readTreeCpuMs(place.pid)) - cpuBefore;
  return { wallUs: (wallMs * 1_000) / CALLS, cpuUs: (cpuMs * 1_000) / CALLS };
}

async function inAtoll(atoll: TestAtoll): Promise<Place> {
  await deployWithNamespace(atoll, { name: "reader", source: SOURCE });
  const pid = (await atoll.pids())["fra"] ?? 0;
  return { name: "Atoll", pid, ask: (path) => ask(atoll, "fra", { worker: "reader", path }) };
}

async function inMiniflare(resources: AsyncDisposableStack): Promise<Place> {
  const project = await hold(
    resources,
    () =>
      createProject({
        "index.js": SOURCE,
        "wrangler.jsonc": JSON.stringify({
          name: "reader",
          main: "index.js",
          compatibility_date: "2026-06-01",
          kv_namespaces: [{ binding: "KV", id: "a".repeat(32) }],
        }),
      }),
    (created) => created.remove(),
  );
  const dev = await hold(
    resources,
    () => startWranglerDev(project.directory),
    (started) => started.stop(),
  );
  return { name: "Miniflare", pid: dev.pid, ask: (path) => askAt(dev.url, path) };
}

async function inWorkerd(resources: AsyncDisposableStack): Promise<Place> {
  const bare = await BareWorkerd.start(resources, { source: SOURCE, bundledKv: true });
  return { name: "kv.js", pid: bare.pid, ask: (path) => askAt(bare.url, path) };
}

async function askAt(url: string, path: string): Promise<string> {
  const { statusCode, body } = await request(`${url}${path}`);
  const text = await body.text();
  if (statusCode === 200) return text;
  throw new Error(`${url}${path} answered ${statusCode}: ${text.slice(0, 300)}`);
}
