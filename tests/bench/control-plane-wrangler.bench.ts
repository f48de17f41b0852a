import { randomBytes } from "node:crypto";
import type { TestAtoll } from "../support/atoll.ts";
import { createProject, type TestProject } from "../support/project.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { startBenchAtoll } from "./fleet.ts";
import { median } from "./statistics.ts";

// Bundling alone varies by 0.2 s from one round to the next: fewer would say more of that than of Atoll.
const ROUNDS = 15;
const ASSETS = 100;
const ASSET_BYTES = 4_096;
const CODE_BYTES = 1_000_000;
// The promise: what a deploy takes beyond bundling, which `--dry-run` does alone.
const DEPLOY_SECONDS_MAX = 1.5;
const UNCHANGED_SECONDS_MAX = 0.3;

/** What Atoll adds to the time of `wrangler deploy`. */
export const controlPlaneWrangler: Benchmark = {
  name: "control-plane-wrangler",
  subject: "wrangler deploy of 1 MB and 100 assets, against the same command with --dry-run",
  run: async (resources): Promise<Outcome> => {
    const atoll = await startBenchAtoll(resources);
    const project = await createProject({
      "wrangler.json": JSON.stringify({
        name: "measured",
        main: "index.js",
        compatibility_date: "2026-06-01",
        assets: { directory: "public" },
      }),
    });
    resources.defer(() => project.remove());
    const samples = { dryRun: [] as number[], changed: [] as number[], unchanged: [] as number[] };
    // The first deploy makes the worker, and the first run of wrangler reads it from the disk.
    await change(project);
    await timed(atoll, project, ["deploy"]);
    for (let round = 0; round < ROUNDS; round += 1) {
      await change(project);
      samples.dryRun.push(await timed(atoll, project, ["deploy", "--dry-run"]));
      samples.changed.push(await timed(atoll, project, ["deploy"]));
      samples.unchanged.push(await timed(atoll, project, ["deploy"]));
    }
    // Of each round: the machine is not the same in all of them.
    const beyond = (name: "changed" | "unchanged"): number =>
      median(samples[name].map((seconds, round) => seconds - (samples.dryRun[round] ?? 0)));
    return {
      settings: { rounds: ROUNDS, assets: ASSETS, assetBytes: ASSET_BYTES, codeBytes: CODE_BYTES },
      figures: [
        { name: "with --dry-run, p50", value: median(samples.dryRun), unit: "s" },
        { name: "deploy, p50", value: median(samples.changed), unit: "s" },
        { name: "unchanged redeploy, p50", value: median(samples.unchanged), unit: "s" },
        {
          name: "deploy beyond its --dry-run, p50",
          value: beyond("changed"),
          unit: "s",
          atMost: DEPLOY_SECONDS_MAX,
        },
        {
          name: "unchanged redeploy beyond it, p50",
          value: beyond("unchanged"),
          unit: "s",
          atMost: UNCHANGED_SECONDS_MAX,
        },
      ],
      samples,
    };
  },
};

/** Other code, and other content of every file. */
async function change(project: TestProject): Promise<void> {
  const text = randomBytes(CODE_BYTES / 2).toString("hex");
  const source = `const text = "${text}";\nexport default { fetch: () => new Response(text.slice(0, 8)) };`;
  await project.write("index.js", source);
  for (let number = 0; number < ASSETS; number += 1) {
    await project.write(`public/${number}.bin`, randomBytes(ASSET_BYTES));
  }
}

/** Seconds of a run of wrangler, which must succeed. */
async function timed(
  atoll: TestAtoll,
  project: TestProject,
  words: ReadonlyArray<string>,
): Promise<number> {
  const startedAt = performance.now();
  const { exitCode, output } = await atoll.wrangler(project.directory, words);
  if (exitCode !== 0) throw new Error(`wrangler ${words.join(" ")} failed:\n${output}`);
  return (performance.now() - startedAt) / 1_000;
}
