import { randomUUID } from "node:crypto";
import type { TestAtoll } from "../support/atoll.ts";
import { BareWorkerd } from "./bare-workerd.ts";
import { type Benchmark, type Figure, type Outcome } from "./benchmark.ts";
import { deploy, hostOf, joinBenchNode, settled, startBenchAtoll, warmUp } from "./fleet.ts";
import { LoadGenerator } from "./load-generator.ts";
import { bundleHello } from "./peers/hello-bundle.ts";
import { startPeers } from "./peers/peers.ts";
import { readCpuMsByProgram } from "./process-cpu.ts";
import { saturate, type SaturatingResult } from "./saturating-load.ts";
import { median } from "./statistics.ts";

const ROUNDS = 8;
// The speed of a shared machine doubles and halves within seconds: short stretches, each target's in turn,
// have all of them share its moods.
const STRETCHES_PER_ROUND = 4;
const LOAD = { connections: 16, durationMs: 1_000 } as const;
// Far below what any of them can take: what is measured is the way there and back.
const LOW_LOAD = { connections: 1, requestsMax: 200, durationMs: 1_500, pauseMs: 5 } as const;
// Until the code that every request runs through is compiled, on both sides.
const WARM_UP = { ...LOAD, durationMs: 2_000 } as const;

// What Atoll promises behind HAProxy, against workerd as it comes on a TCP socket.
const CPU_RATIO_MAX = 1.45;
const THROUGHPUT_RATIO_MIN = 0.9;
const ADDED_MS_MAX = 0.3;

// What the ingress tells a worker of its caller. Reading it is a part of what a cell does more than bare
// workerd; how large a part, workerd that is sent the same shows.
const CALLER = [
  "cf-connecting-ip: 127.0.0.1",
  "x-forwarded-proto: http",
  "cf-ray: 0123456789abcdef-fra",
];

interface Target {
  readonly name: string;
  readonly url: string;
  readonly host: string;
  /** Header lines that the generator sends. */
  readonly headers?: ReadonlyArray<string>;
  /** The process that serves, or that started the ones which do. */
  readonly pid: number;
  /** Whether that process is none of those that a request passes through. */
  readonly isApart: boolean;
  /**
   * Replaces the process that runs the application by a new one. Where its memory happens to lie makes one
   * up to a quarter slower than another that is equal: over the rounds, that falls on both sides alike.
   */
  readonly renew?: () => Promise<void>;
}

/** What one target took in one round. */
interface Round {
  /** Of the processes that a request passes through. */
  readonly cpuUs: number;
  /** Of HAProxy among them. */
  readonly haproxyUs: number;
  /** Of the agent that supervises them. */
  readonly apartUs: number;
  readonly requestsPerSecond: number;
  readonly p99Ms: number;
  /** With one request at a time, and pauses. */
  readonly lowLoadP50Ms: number;
  /** Share of one core that the load generator used: near 1, the throughput is the generator's. */
  readonly generatorLoad: number;
}

/** A warm application of Hono's behind both ingresses, and served by others, in turn. */
export const warm: Benchmark = {
  name: "warm",
  subject: "the same Hono application, warm: the servers' CPU per request, throughput, latency",
  run: async (resources): Promise<Outcome> => {
    const { targets, absent } = await startTargets(resources);
    const generator = resources.use(new LoadGenerator());
    for (const target of targets) {
      if (target.renew === undefined) await load(target, WARM_UP);
    }
    const rounds = new Map<Target, Round[]>(targets.map((target) => [target, []]));
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const target of targets) {
        if (target.renew === undefined) continue;
        await target.renew();
        await load(target, WARM_UP);
      }
      const stretches = new Map<Target, Stretch[]>(targets.map((target) => [target, []]));
      for (let stretch = 0; stretch < STRETCHES_PER_ROUND; stretch += 1) {
        for (const [target, taken] of stretches) taken.push(await measure(target));
      }
      for (const [target, taken] of rounds) {
        const p50Ms = await lowLoadP50Ms(generator, target);
        taken.push(roundOf(stretches.get(target) ?? [], p50Ms));
      }
    }
    return {
      settings: {
        rounds: ROUNDS,
        stretchesPerRound: STRETCHES_PER_ROUND,
        ...LOAD,
        pauseMsAtLowLoad: LOW_LOAD.pauseMs,
      },
      figures: [
        ...[...rounds].flatMap(([target, taken]) => figuresOf(target, taken)),
        ...comparisons(rounds),
      ],
      remarks: absent,
      samples: Object.fromEntries(
        [...rounds].flatMap(([{ name }, taken]) =>
          Object.entries(SAMPLES).map(([field, title]) => [
            `${name}: ${title}`,
            taken.map((round) => round[field as keyof Round]),
          ]),
        ),
      ),
    };
  },
};

const SAMPLES: Readonly<Record<keyof Round, string>> = {
  cpuUs: "CPU µs per request",
  haproxyUs: "CPU µs of HAProxy per request",
  apartUs: "CPU µs of the agent per request",
  requestsPerSecond: "requests per second",
  p99Ms: "p99 ms",
  lowLoadP50Ms: "p50 ms at low load",
  generatorLoad: "load of the generator",
};

async function startTargets(
  resources: AsyncDisposableStack,
): Promise<{ readonly targets: ReadonlyArray<Target>; readonly absent: ReadonlyArray<string> }> {
  const atoll = await startBenchAtoll(resources, "haproxy");
  const bundle = await bundleHello(resources, atoll);
  await deploy(atoll, { name: "hello", source: bundle.source });
  const builtin = await joinBenchNode(resources, atoll, ["--ingress", "builtin"]);
  await warmUp(atoll, "hello", "hello world");
  await builtin.get("hello", "/");
  await settled(atoll);
  const { running, absent } = await startPeers(resources, bundle);
  const { url } = atoll.regions.fra;
  const pid = (await atoll.pids())["fra"] ?? 0;
  const ours = { host: hostOf("hello"), renew: () => redeploy(atoll, bundle.source) };
  return {
    targets: [
      await startBare(resources, { name: "bare workerd", source: bundle.source }),
      { name: "atoll, HAProxy", url, pid, isApart: true, ...ours },
      {
        name: "atoll, built-in ingress",
        url: builtin.url,
        pid: builtin.pid,
        isApart: false,
        ...ours,
      },
      await startBare(resources, {
        name: "bare workerd, told of the caller",
        source: bundle.source,
        headers: CALLER,
      }),
      ...running.map((peer) => ({ ...peer, host: "localhost", isApart: false })),
    ],
    absent,
  };
}

async function startBare(
  resources: AsyncDisposableStack,
  options: Pick<Target, "name" | "headers"> & { readonly source: string },
): Promise<Target> {
  const { source, ...rest } = options;
  let current = await BareWorkerd.start(resources, { source });
  return {
    ...rest,
    host: "localhost",
    isApart: false,
    get url() {
      return current.url;
    },
    get pid() {
      return current.pid;
    },
    renew: async () => {
      await current.stop();
      current = await BareWorkerd.start(resources, { source });
    },
  };
}

/** The same application in a new cell of each node; the last one ends while the new one warms up. */
async function redeploy(atoll: TestAtoll, source: string): Promise<void> {
  const stamp = `// ${randomUUID()}\n`;
  await deploy(atoll, { name: "hello", source: `${stamp}${source}` });
  await settled(atoll);
}

type Bounded = Pick<Figure, "atMost" | "atLeast">;

async function load(
  { name, url, host, headers = [] }: Target,
  bounds: typeof LOAD | typeof WARM_UP,
): Promise<SaturatingResult> {
  const result = await saturate({ ...bounds, url, host, headers });
  if (result.failed === 0) return result;
  throw new Error(`${name} failed under load: ${result.failed} of ${result.requests} requests`);
}

/** The median of one request at a time. */
async function lowLoadP50Ms(generator: LoadGenerator, target: Target): Promise<number> {
  const { name, url, host, headers = [] } = target;
  const result = await generator.run({ ...LOW_LOAD, url, hosts: [host], headers });
  if (result.failures.length === 0) return median(result.latenciesMs);
  throw new Error(`${name} failed at low load: ${result.failures.join("; ")}`);
}

/** What one stretch of load took, of the processes that `Round` names. */
interface Stretch extends CpuMs {
  readonly result: SaturatingResult;
}

async function measure(target: Target): Promise<Stretch> {
  const before = await readCpuMs(target);
  const result = await load(target, LOAD);
  const after = await readCpuMs(target);
  return {
    result,
    onPath: after.onPath - before.onPath,
    haproxy: after.haproxy - before.haproxy,
    apart: after.apart - before.apart,
  };
}

function roundOf(stretches: ReadonlyArray<Stretch>, lowLoadP50Ms: number): Round {
  const sum = (of: (stretch: Stretch) => number): number =>
    stretches.reduce((total, stretch) => total + of(stretch), 0);
  const requests = sum(({ result }) => result.requests);
  const durationMs = sum(({ result }) => result.durationMs);
  return {
    cpuUs: (sum(({ onPath }) => onPath) * 1_000) / requests,
    haproxyUs: (sum(({ haproxy }) => haproxy) * 1_000) / requests,
    apartUs: (sum(({ apart }) => apart) * 1_000) / requests,
    requestsPerSecond: (requests * 1_000) / durationMs,
    p99Ms: median(stretches.map(({ result }) => result.p99Ms)),
    lowLoadP50Ms,
    generatorLoad: sum(({ result }) => result.cpuMs) / durationMs,
  };
}

/** As in `Round`, since the start of the processes. */
interface CpuMs {
  readonly onPath: number;
  readonly haproxy: number;
  readonly apart: number;
}

async function readCpuMs({ pid, isApart }: Target): Promise<CpuMs> {
  const byProgram = await readCpuMsByProgram(pid);
  const all = [...byProgram.values()].reduce((sum, cpuMs) => sum + cpuMs, 0);
  const apart = isApart ? (byProgram.get("") ?? 0) : 0;
  return { onPath: all - apart, haproxy: byProgram.get("haproxy") ?? 0, apart };
}

function figuresOf({ name, isApart }: Target, rounds: ReadonlyArray<Round>): ReadonlyArray<Figure> {
  const of = (field: keyof Round): number => median(rounds.map((round) => round[field]));
  const parts: ReadonlyArray<Figure> = [
    { name: `${name}: HAProxy's part of it`, value: of("haproxyUs"), unit: "µs" },
    { name: `${name}: CPU of the agent beside it`, value: of("apartUs"), unit: "µs" },
  ];
  return [
    { name: `${name}: CPU per request`, value: of("cpuUs"), unit: "µs" },
    ...(isApart ? parts : []),
    { name: `${name}: throughput`, value: of("requestsPerSecond"), unit: "requests/s" },
    { name: `${name}: latency p99`, value: of("p99Ms"), unit: "ms" },
    { name: `${name}: latency p50 at low load`, value: of("lowLoadP50Ms"), unit: "ms" },
    { name: `${name}: load of the generator's core`, value: of("generatorLoad"), unit: "×" },
  ];
}

/**
 * Every target against the first one, within each round, so that what the machine did meanwhile touches
 * both sides alike.
 */
function comparisons(rounds: ReadonlyMap<Target, ReadonlyArray<Round>>): ReadonlyArray<Figure> {
  const [first, ...others] = [...rounds];
  if (first === undefined) return [];
  const [{ name: base }, baseline] = first;
  return others.flatMap(([{ name, isApart }, taken]) => {
    const compare = (how: (ours: Round, theirs: Round) => number): number =>
      median(
        taken.flatMap((round, index) => {
          const theirs = baseline[index];
          return theirs === undefined ? [] : [how(round, theirs)];
        }),
      );
    const bound = (bounds: Bounded): Bounded => (isApart ? bounds : {});
    return [
      {
        name: `${name} / ${base}: CPU per request`,
        value: compare((ours, theirs) => ours.cpuUs / theirs.cpuUs),
        unit: "×",
        ...bound({ atMost: CPU_RATIO_MAX }),
      },
      {
        name: `${name} / ${base}: throughput`,
        value: compare((ours, theirs) => ours.requestsPerSecond / theirs.requestsPerSecond),
        unit: "×",
        ...bound({ atLeast: THROUGHPUT_RATIO_MIN }),
      },
      {
        name: `${name} - ${base}: latency p50 at low load`,
        value: compare((ours, theirs) => ours.lowLoadP50Ms - theirs.lowLoadP50Ms),
        unit: "ms",
        ...bound({ atMost: ADDED_MS_MAX }),
      },
    ];
  });
}
