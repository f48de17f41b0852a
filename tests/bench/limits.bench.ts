import { setTimeout as wait } from "node:timers/promises";
import type { TestAtoll } from "../support/atoll.ts";
import { Load, type LoadReport } from "../support/load.ts";
import { OFFENDER_SOURCE } from "../support/offender.ts";
import type { Benchmark, Figure, Outcome } from "./benchmark.ts";
import { deployAll, hostOf, settled, startBenchAtoll } from "./fleet.ts";
import { median, percentile } from "./statistics.ts";

// Each with a worker of its own: who does it again rests before it is started again.
const SAMPLES = 10;
const NEIGHBOURS = 4;
const PAUSE_MS = 500;
// How closely the return of a worker is seen.
const LOOK_MS = 2;
// A turn's limit, and what Atoll allows itself to see it exceeded and to have the worker back.
const LOOP_MS_MAX = 1_000 + 1_000;
const MEMORY_MS_MAX = 1_000;

const OFFENCES = {
  loop: { path: "/loop", code: "cpu_exceeded", msMax: LOOP_MS_MAX },
  "out of memory": { path: "/grow", code: "memory_exceeded", msMax: MEMORY_MS_MAX },
} as const;
type Offence = keyof typeof OFFENCES;

/** How soon a worker that exceeded a limit answers again, and what its neighbours notice. */
export const limits: Benchmark = {
  name: "limits",
  subject: "from the request that exceeds a limit to the next answer of that worker",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const names = Object.keys(OFFENCES) as Offence[];
    const offenders = Array.from({ length: SAMPLES }, (_, index) =>
      names.map((offence, kind) => ({ offence, worker: `offender-${kind}-${index}` })),
    ).flat();
    const neighbours = Array.from({ length: NEIGHBOURS }, (_, index) => `neighbour-${index}`);
    const workers = [...offenders.map(({ worker }) => worker), ...neighbours];
    await deployAll(
      atoll,
      workers.map((name) => ({ name, source: OFFENDER_SOURCE })),
    );
    await settled(atoll);
    for (const worker of workers) await isFine(atoll, worker);
    const samples: Record<Offence, number[]> = { loop: [], "out of memory": [] };
    const reports = await underLoad(atoll, neighbours, async () => {
      for (const { offence, worker } of offenders) {
        samples[offence].push(await offend(atoll, worker, offence));
        await wait(PAUSE_MS);
      }
    });
    const failures = reports.flatMap((report) => report.failures);
    if (failures.length > 0) console.error(`limits: the first failure: ${failures[0]}`);
    const requests = reports.reduce((sum, report) => sum + report.requests, 0);
    return {
      settings: { samples: SAMPLES, neighbours: NEIGHBOURS, lookMs: LOOK_MS },
      figures: [
        ...names.flatMap((offence) => figuresOf(offence, samples[offence])),
        { name: "requests of neighbours meanwhile", value: requests, unit: "count" },
        { name: "failed among them", value: failures.length, unit: "count", atMost: 0 },
      ],
      samples,
    };
  },
};

function figuresOf(offence: Offence, ms: ReadonlyArray<number>): ReadonlyArray<Figure> {
  return [
    { name: `${offence}, to the next answer, p50`, value: median(ms), unit: "ms" },
    {
      name: `${offence}, to the next answer, slowest`,
      value: percentile(ms, 1),
      unit: "ms",
      atMost: OFFENCES[offence].msMax,
    },
  ];
}

/** Milliseconds from the request that exceeds the limit until its worker has answered another one. */
async function offend(atoll: TestAtoll, worker: string, offence: Offence): Promise<number> {
  const { path, code } = OFFENCES[offence];
  const begunMs = performance.now();
  const { status, headers } = await atoll.get("fra", hostOf(worker), path);
  if (status !== 503 || headers["x-atoll-error"] !== code) {
    throw new Error(`${worker} was answered ${status} ${String(headers["x-atoll-error"])}`);
  }
  while (!(await isFine(atoll, worker))) await wait(LOOK_MS);
  return performance.now() - begunMs;
}

async function isFine(atoll: TestAtoll, worker: string): Promise<boolean> {
  return (await atoll.get("fra", hostOf(worker), "/")).body === "fine";
}

async function underLoad(
  atoll: TestAtoll,
  workers: ReadonlyArray<string>,
  act: () => Promise<void>,
): Promise<ReadonlyArray<LoadReport>> {
  const url = `${atoll.regions.fra.url}/`;
  const loads = workers.map(
    (worker) => new Load({ url, host: hostOf(worker), atATime: 1, pauseMs: LOOK_MS }),
  );
  try {
    await act();
  } finally {
    await Promise.all(loads.map((load) => load.stop()));
  }
  return Promise.all(loads.map((load) => load.stop()));
}
