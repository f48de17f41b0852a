import { createProject } from "../support/project.ts";
import { startWranglerDev } from "../support/wrangler-dev.ts";
import { BareWorkerd } from "./bare-workerd.ts";
import { hold, type Benchmark, type Figure, type Outcome } from "./benchmark.ts";
import { deploy, hostOf, settled, startBenchAtoll, warmUp } from "./fleet.ts";
import { LoadGenerator, type LoadPlan } from "./load-generator.ts";
import { readTreeCpuMs } from "./process-cpu.ts";
import { median, percentile } from "./statistics.ts";

const ROUNDS = 6;
const SETTINGS = { connections: 16, requestsMax: 100_000, durationMs: 2_500 } as const;
// Until the code that every request runs through is compiled, on both sides.
const WARM_UP = { ...SETTINGS, durationMs: 2_000 } as const;
const SOURCE = `export default { fetch: () => new Response("hello world") };`;

interface Target {
  readonly name: string;
  readonly url: string;
  readonly host: string;
  /** The process that serves, or that started the ones which do. */
  readonly pid: number;
}

/** What one target took in one round. */
interface Round {
  readonly cpuUs: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Share of one core that the load generator used: near 1, the throughput is the generator's. */
  readonly generatorLoad: number;
}

/** A warm hello world behind the ingress, in workerd as it comes, and in `wrangler dev`. */
export const warm: Benchmark = {
  name: "warm",
  subject: "hello world, warm: the servers' CPU per request, and throughput",
  run: async (resources): Promise<Outcome> => {
    const targets = await startTargets(resources);
    const generator = resources.use(new LoadGenerator());
    for (const target of targets) await generator.run({ ...WARM_UP, ...addressOf(target) });
    const rounds = new Map<Target, Round[]>(targets.map((target) => [target, []]));
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [target, taken] of rounds) taken.push(await measure(generator, target));
    }
    return {
      settings: { rounds: ROUNDS, ...SETTINGS },
      figures: [
        ...[...rounds].flatMap(([target, taken]) => figuresOf(target, taken)),
        ...ratios(rounds),
      ],
      samples: Object.fromEntries(
        [...rounds].flatMap(([{ name }, taken]) => [
          [`${name}: CPU µs per request`, taken.map((round) => round.cpuUs)],
          [`${name}: requests per second`, taken.map((round) => round.requestsPerSecond)],
          [`${name}: p50 ms`, taken.map((round) => round.p50Ms)],
          [`${name}: p99 ms`, taken.map((round) => round.p99Ms)],
          [`${name}: load of the generator`, taken.map((round) => round.generatorLoad)],
        ]),
      ),
    };
  },
};

async function startTargets(resources: AsyncDisposableStack): Promise<ReadonlyArray<Target>> {
  const atoll = await startBenchAtoll(resources);
  await deploy(atoll, { name: "hello", source: SOURCE });
  await warmUp(atoll, "hello", "hello world");
  await settled(atoll);
  const pids = await atoll.pids();
  const { port, url } = atoll.regions.fra;

  const bare = await BareWorkerd.start(resources, { source: SOURCE });

  const project = await createProject({
    "wrangler.jsonc": `{ "name": "hello", "main": "index.js", "compatibility_date": "2026-06-01" }`,
    "index.js": SOURCE,
  });
  resources.defer(() => project.remove());
  const dev = await hold(
    resources,
    () => startWranglerDev(project.directory),
    (started) => started.stop(),
  );

  return [
    { name: "atoll", url, host: `${hostOf("hello")}:${port}`, pid: pids["fra"] ?? 0 },
    { name: "bare workerd", url: bare.url, host: "localhost", pid: bare.pid },
    { name: "wrangler dev", url: dev.url, host: "localhost", pid: dev.pid },
  ];
}

function addressOf({ url, host }: Target): Pick<LoadPlan, "url" | "host"> {
  return { url, host };
}

async function measure(generator: LoadGenerator, target: Target): Promise<Round> {
  const cpuBeforeMs = await readTreeCpuMs(target.pid);
  const result = await generator.run({ ...SETTINGS, ...addressOf(target) });
  const cpuMs = (await readTreeCpuMs(target.pid)) - cpuBeforeMs;
  if (result.failures.length > 0) {
    throw new Error(`${target.name} failed under load: ${result.failures.join("; ")}`);
  }
  return {
    cpuUs: (cpuMs * 1_000) / result.requests,
    requestsPerSecond: (result.requests * 1_000) / result.durationMs,
    p50Ms: median(result.latenciesMs),
    p99Ms: percentile(result.latenciesMs, 0.99),
    generatorLoad: result.cpuMs / result.durationMs,
  };
}

function figuresOf({ name }: Target, rounds: ReadonlyArray<Round>): ReadonlyArray<Figure> {
  const of = (field: keyof Round): number => median(rounds.map((round) => round[field]));
  return [
    { name: `${name}: CPU per request`, value: of("cpuUs"), unit: "µs" },
    { name: `${name}: throughput`, value: of("requestsPerSecond"), unit: "requests/s" },
    { name: `${name}: latency p50`, value: of("p50Ms"), unit: "ms" },
    { name: `${name}: latency p99`, value: of("p99Ms"), unit: "ms" },
    { name: `${name}: load of the generator's core`, value: of("generatorLoad"), unit: "×" },
  ];
}

/** Ratios within each round, so that what the machine did meanwhile touches both sides alike. */
function ratios(rounds: ReadonlyMap<Target, ReadonlyArray<Round>>): ReadonlyArray<Figure> {
  const [atoll, ...others] = [...rounds];
  if (atoll === undefined) return [];
  const [, ours] = atoll;
  const ratio = (theirs: ReadonlyArray<Round>, field: keyof Round): number =>
    median(ours.map((round, index) => round[field] / (theirs[index]?.[field] ?? Number.NaN)));
  return others.flatMap(([{ name }, theirs]) => [
    { name: `atoll / ${name}: CPU per request`, value: ratio(theirs, "cpuUs"), unit: "×" },
    { name: `atoll / ${name}: throughput`, value: ratio(theirs, "requestsPerSecond"), unit: "×" },
  ]);
}
