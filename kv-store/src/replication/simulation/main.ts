import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { findMutations } from "./mutation-run.ts";
import { runSeeds, type SeedOutcome } from "./seed-run.ts";
import { SeedTally } from "./seed-tally.ts";
import { simulate } from "./simulation.ts";

// `npm run simulate`: runs seeds, and stops when one breaks a promise.
const USAGE = `npm run simulate -- [--seeds <count>] [--first <seed>]   runs so many seeds, from the first on
             [--threads <count>]                         at the same time: by default one a core
npm run simulate -- --seed <seed> [--trace]              runs one, and tells what happens in it
npm run simulate -- --mutations [--named <text>]         proves that deliberate bugs are found,
                                                         of some those whose name has the text in it`;

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "100" },
    first: { type: "string" },
    threads: { type: "string", default: String(availableParallelism()) },
    seed: { type: "string" },
    trace: { type: "boolean", default: false },
    mutations: { type: "boolean", default: false },
    named: { type: "string", default: "" },
    help: { type: "boolean", default: false },
  },
});
// How often a long run says where it is.
const REPORT_MS = 30_000;

if (values.help) console.log(USAGE);
else if (values.mutations)
  process.exitCode = (await findMutations(values.named, console.log)) ? 0 : 1;
else if (values.seed !== undefined) process.exitCode = runOne(integer(values.seed)) ? 0 : 1;
else {
  const first = values.first === undefined ? Date.now() % 1_000_000 : integer(values.first);
  const [count, threads] = [integer(values.seeds), integer(values.threads)];
  process.exitCode = (await runMany({ first, count, threads: Math.max(1, threads) })) ? 0 : 1;
}

function runOne(seed: number): boolean {
  try {
    const report = simulate(seed, values.trace ? console.log : undefined);
    console.log(`seed ${seed}: ${JSON.stringify(report)}`);
    return true;
  } catch (error) {
    console.error(error);
    return false;
  }
}

async function runMany(run: {
  readonly first: number;
  readonly count: number;
  readonly threads: number;
}): Promise<boolean> {
  const threads = Math.min(run.threads, run.count);
  console.log(`${run.count} seeds from ${run.first} on ${threads} threads`);
  const tally = new SeedTally(threads);
  let reportedMs = performance.now();
  const broken: SeedOutcome[] = [];
  const onOutcome = (outcome: SeedOutcome): void => {
    tally.add(outcome);
    if (outcome.broken !== undefined) broken.push(outcome);
    if (performance.now() - reportedMs < REPORT_MS) return;
    reportedMs = performance.now();
    console.log(tally.progress);
  };
  await runSeeds({ ...run, onOutcome });
  for (const line of tally.lines()) console.log(line);
  const [lowest] = broken.toSorted((a, b) => a.seed - b.seed);
  if (lowest !== undefined) {
    console.error(lowest.broken);
    console.error(`replay it with: npm run simulate -- --seed ${lowest.seed} --trace`);
    return false;
  }
  console.log(`no promise was broken: ${run.count} seeds from ${run.first}`);
  return true;
}

function integer(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  console.error(`${text} is no count and no seed\n\n${USAGE}`);
  return process.exit(2);
}
