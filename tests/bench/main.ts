// `npm run bench [-- <name>...]`: measures Atoll in one run, prints a table, and writes every figure
// and sample to `tests/bench/results/<time>.json`. The name `kv` stands for all that begin with `kv-`.
import { mkdir, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { BENCHMARK_PROGRAMS, installPackages } from "../../scripts/debian-packages.ts";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { churn } from "./churn.bench.ts";
import { coldBundle } from "./cold-bundle.bench.ts";
import { coldStart } from "./cold-start.bench.ts";
import { controlPlaneAssets } from "./control-plane-assets.bench.ts";
import { controlPlaneWrangler } from "./control-plane-wrangler.bench.ts";
import { density } from "./density.bench.ts";
import { controlPlane } from "./control-plane.bench.ts";
import { deploys } from "./deploy.bench.ts";
import { kvFanout } from "./kv-fanout.bench.ts";
import { kvGet } from "./kv-get.bench.ts";
import { kvMillion } from "./kv-million.bench.ts";
import { kvPeers } from "./kv-peers.bench.ts";
import { kvPropagation } from "./kv-propagation.bench.ts";
import { kvPut } from "./kv-put.bench.ts";
import { kvReplica } from "./kv-replica.bench.ts";
import { limits } from "./limits.bench.ts";
import { describeMachine } from "./machine.ts";
import { neighbours } from "./neighbours.bench.ts";
import { formatTable, type Result } from "./table.ts";
import { tail } from "./tail.bench.ts";
import { warm } from "./warm.bench.ts";

const BENCHMARKS: ReadonlyArray<Benchmark> = [
  coldStart,
  coldBundle,
  warm,
  limits,
  neighbours,
  density,
  churn,
  tail,
  deploys,
  controlPlane,
  controlPlaneAssets,
  controlPlaneWrangler,
  kvReplica,
  kvGet,
  kvPeers,
  kvPut,
  kvPropagation,
  kvFanout,
  kvMillion,
];
const RESULTS = join(import.meta.dirname, "results");
// Three times what a full run takes on two cores: what goes on longer hangs, and is given up.
const RUN_MS_MAX = 75 * 60_000;

function choose(names: ReadonlyArray<string>): ReadonlyArray<Benchmark> {
  if (names.length === 0) return BENCHMARKS;
  return names.flatMap((name) => {
    const found = BENCHMARKS.filter(
      (benchmark) => benchmark.name === name || benchmark.name.startsWith(`${name}-`),
    );
    if (found.length > 0) return found;
    const known = BENCHMARKS.map((benchmark) => benchmark.name).join(", ");
    console.error(`There is no benchmark '${name}': there are ${known}.`);
    return process.exit(2);
  });
}

/** Aborted when the run is to be given up: its time is over, or somebody stopped it. */
function endOfRun(): AbortSignal {
  const controller = new AbortController();
  const reason = new Error(`the run took more than ${RUN_MS_MAX} ms`);
  setTimeout(() => controller.abort(reason), RUN_MS_MAX).unref();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => controller.abort(new Error(`stopped by ${signal}`)));
  }
  return controller.signal;
}

async function measure(benchmark: Benchmark, end: AbortSignal): Promise<Outcome> {
  end.throwIfAborted();
  await using resources = new AsyncDisposableStack();
  const givenUp = Promise.withResolvers<never>();
  const giveUp = (): void => givenUp.reject(end.reason);
  end.addEventListener("abort", giveUp);
  resources.defer(() => end.removeEventListener("abort", giveUp));
  return await Promise.race([benchmark.run(resources), givenUp.promise]);
}

const chosen = choose(process.argv.slice(2));
installPackages(BENCHMARK_PROGRAMS);
const machine = await describeMachine();
const startedAt = new Date();
const end = endOfRun();
const outcomes: Record<string, Outcome> = {};
const results = new Map<Benchmark, Result>();
for (const benchmark of chosen) {
  console.error(`${benchmark.name}: ${benchmark.subject} …`);
  try {
    const outcome = await measure(benchmark, end);
    outcomes[benchmark.name] = outcome;
    results.set(benchmark, { kind: "measured", outcome });
  } catch (error) {
    console.error(error);
    const [reason = ""] = (error instanceof Error ? error.message : String(error)).split("\n");
    results.set(benchmark, { kind: "failed", reason });
  }
}
const seconds = (Date.now() - startedAt.getTime()) / 1_000;
await mkdir(RESULTS, { recursive: true });
const file = join(RESULTS, `${startedAt.toISOString().replaceAll(":", "-")}.json`);
await writeFile(file, `${JSON.stringify({ startedAt, seconds, machine, outcomes }, null, 2)}\n`);

console.log(
  `\nNode ${machine.node}, ${machine.workerd}, wrangler ${machine.wrangler}, HAProxy ${machine.haproxy}, Linux ${machine.kernel}, ` +
    `${machine.cores} cores of ${machine.processor}, load ${machine.loadBefore.toFixed(1)} before the run`,
);
console.log(formatTable(results));
console.log(`\n${seconds.toFixed(0)} s; every sample is in ${relative(process.cwd(), file)}`);
const hasFailed = [...results.values()].some((result) => result.kind === "failed");
process.exit(hasFailed ? 1 : 0);
