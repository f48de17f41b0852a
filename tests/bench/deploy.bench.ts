import { setTimeout as wait } from "node:timers/promises";
import { REGIONS, type RegionName, type TestAtoll } from "../support/atoll.ts";
import { Load, type LoadReport } from "../support/load.ts";
import { createProject, type TestProject } from "../support/project.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { deploy, hostOf, startBenchAtoll, warmUp } from "./fleet.ts";
import { percentile, median } from "./statistics.ts";

const WRANGLER_DEPLOYS = 12;
const DEPLOYS_UNDER_LOAD = 20;
const CONNECTIONS_PER_REGION = 4;
// The promise: from the return of the command to the new version in the last region.
const LIVE_MS = 1_000;
// How closely the moment is seen; looking more often would slow down what is looked at.
const LOOK_MS = 5;
// A version that is not live by then is lost, not late.
const LOST_MS = 20_000;

const WORKER = "deployed";

/** How soon a version is live everywhere, and what a running deploy costs those who use the worker. */
export const deploys: Benchmark = {
  name: "deploy",
  subject: "wrangler deploy to live in three regions; redeploys under load",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const project = await createProject({
      "wrangler.jsonc": `{ "name": "${WORKER}", "main": "index.js", "compatibility_date": "2026-06-01" }`,
      "index.js": "",
    });
    resources.defer(() => project.remove());
    // The first one creates the worker, which is another path; the others replace a warm version.
    await timedDeploy(atoll, project, "first");
    const samples = {
      live: [] as number[],
      command: [] as number[],
      liveUnderLoad: [] as number[],
    };
    for (let number = 0; number < WRANGLER_DEPLOYS; number += 1) {
      const { commandMs, liveMs } = await timedDeploy(atoll, project, `version ${number}`);
      samples.command.push(commandMs);
      samples.live.push(liveMs);
    }
    const reports = await redeployUnderLoad(atoll, samples.liveUnderLoad);
    const failures = reports.flatMap((report) => report.failures);
    if (failures.length > 0) console.error(`deploy: the first failure: ${failures[0]}`);
    const count = (of: (report: LoadReport) => number): number =>
      reports.reduce((sum, report) => sum + of(report), 0);
    return {
      settings: {
        wranglerDeploys: WRANGLER_DEPLOYS,
        deploysUnderLoad: DEPLOYS_UNDER_LOAD,
        connectionsPerRegion: CONNECTIONS_PER_REGION,
        lookMs: LOOK_MS,
      },
      figures: [
        {
          name: "command returned to live everywhere, p50",
          value: median(samples.live),
          unit: "ms",
        },
        {
          name: "command returned to live everywhere, slowest",
          value: percentile(samples.live, 1),
          unit: "ms",
          atMost: LIVE_MS,
        },
        { name: "the command itself, p50", value: median(samples.command), unit: "ms" },
        {
          name: "under load: API call returned to live, p50",
          value: median(samples.liveUnderLoad),
          unit: "ms",
        },
        { name: "under load: requests", value: count((report) => report.requests), unit: "count" },
        { name: "under load: failed requests", value: failures.length, unit: "count", atMost: 0 },
        {
          name: "under load: cold requests",
          value: count((report) => report.cold),
          unit: "count",
          atMost: 0,
        },
      ],
      samples,
    };
  },
};

async function timedDeploy(
  atoll: TestAtoll,
  project: TestProject,
  text: string,
): Promise<{ readonly commandMs: number; readonly liveMs: number }> {
  await project.write("index.js", sourceOf(text));
  const startedAt = performance.now();
  const { exitCode, output } = await atoll.wrangler(project.directory, ["deploy"]);
  const commandMs = performance.now() - startedAt;
  if (exitCode !== 0) throw new Error(`wrangler deploy failed:\n${output}`);
  return { commandMs, liveMs: await untilLive(atoll, text) };
}

async function redeployUnderLoad(
  atoll: TestAtoll,
  liveMs: number[],
): Promise<ReadonlyArray<LoadReport>> {
  await warmUp(atoll, WORKER, `version ${WRANGLER_DEPLOYS - 1}`);
  const loads = REGIONS.map((region) => {
    const url = `${atoll.regions[region].url}/`;
    return new Load({ url, host: hostOf(WORKER), atATime: CONNECTIONS_PER_REGION });
  });
  try {
    for (let number = 0; number < DEPLOYS_UNDER_LOAD; number += 1) {
      const text = `under load ${number}`;
      await deploy(atoll, { name: WORKER, source: sourceOf(text) });
      liveMs.push(await untilLive(atoll, text));
    }
  } finally {
    await Promise.all(loads.map((load) => load.stop()));
  }
  return Promise.all(loads.map((load) => load.stop()));
}

/** Milliseconds from now until every region answers `text`. */
async function untilLive(atoll: TestAtoll, text: string): Promise<number> {
  const startedAt = performance.now();
  const isLive = async (region: RegionName): Promise<boolean> =>
    (await atoll.get(region, hostOf(WORKER), "/")).body === text;
  const watch = async (region: RegionName): Promise<void> => {
    while (!(await isLive(region))) {
      if (performance.now() - startedAt > LOST_MS) {
        throw new Error(`${text} was not live in ${region} after ${LOST_MS} ms`);
      }
      await wait(LOOK_MS);
    }
  };
  await Promise.all(REGIONS.map(watch));
  return performance.now() - startedAt;
}

function sourceOf(text: string): string {
  return `export default { fetch: () => new Response(${JSON.stringify(text)}) };`;
}
