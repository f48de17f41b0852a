import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MUTATIONS, type Mutation } from "./mutations.ts";

/** The package's sources, which the simulation needs some of, and where it is among them. */
const SOURCES = join(import.meta.dirname, "../..");
const MAIN = "replication/simulation/main.ts";
/** A bug that this many seeds do not show is not found: a sixth of them is quiet. */
const SEEDS_MAX = 300;
// Most take a second: this is for a bug that makes the core turn in circles, which is told as not found.
const RUN_MS = 600_000;
/** Copies that run at the same time: each is a process. */
const CONCURRENCY = 2;

interface Outcome {
  readonly mutation: Mutation;
  /** What the simulation said; `undefined` when it noticed nothing. */
  readonly found: { readonly seed: number; readonly what: string } | undefined;
}

/**
 * Makes each deliberate bug whose name has the text in it in a copy of the core, and lets the simulation look for
 * it there. Resolves with whether all were found, and none where there is none.
 */
export async function findMutations(
  named: string,
  print: (line: string) => void,
): Promise<boolean> {
  const outcomes: Outcome[] = [];
  const waiting = MUTATIONS.filter(({ name }) => name.includes(named));
  const count = waiting.length;
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const outcome = { mutation: next, found: await runMutated(next) };
      outcomes.push(outcome);
      print(describe(outcome));
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  const missed = outcomes.filter(({ found }) => found === undefined);
  // The same seeds, without a bug: what is found there would prove nothing.
  const last = Math.max(...outcomes.map(({ found }) => found?.seed ?? 0));
  const healthy = await runMutated(undefined, last);
  if (healthy !== undefined) print(`without a bug: ${healthy.what}`);
  print(`${outcomes.length - missed.length} of ${count} deliberate bugs were found`);
  return missed.length === 0 && healthy === undefined;
}

function describe({ mutation, found }: Outcome): string {
  const end = found === undefined ? "NOT FOUND" : `found: ${found.what}`;
  return `${mutation.name} (${mutation.file})\n    ${end}`;
}

/** Runs a copy of the core with the bug, if any, until a seed shows it. */
async function runMutated(
  mutation: Mutation | undefined,
  seeds = SEEDS_MAX,
): Promise<Outcome["found"]> {
  const directory = await mkdtemp(join(tmpdir(), "atoll-mutation-"));
  try {
    const sources = join(directory, "src");
    await cp(SOURCES, sources, { recursive: true });
    await writeFile(join(directory, "package.json"), JSON.stringify({ type: "module" }));
    await symlink(modulesOf("zod"), join(directory, "node_modules"));
    if (mutation !== undefined) await mutate(sources, mutation);
    return await run(join(sources, MAIN), seeds);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function mutate(sources: string, { name, file, find, replace }: Mutation): Promise<void> {
  const path = join(sources, file);
  const before = await readFile(path, "utf8");
  if (before.split(find).length !== 2) {
    throw new Error(`the bug "${name}" can't be made: ${file} has its place not once. Adapt it.`);
  }
  await writeFile(
    path,
    before.replace(find, () => replace),
  );
}

function run(main: string, seeds: number): Promise<Outcome["found"]> {
  const flags = [main, "--first", "1", "--seeds", String(seeds), "--threads", "1"];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, flags, { timeout: RUN_MS }, (error, _stdout, stderr) => {
      if (error === null) return resolve(undefined);
      if (error.killed === true) return resolve(undefined);
      const [, what, seed] = /^Error: (seed (\d+) .*)$/m.exec(stderr) ?? [];
      if (what === undefined)
        reject(new Error(`the copy did not run: ${stderr}`, { cause: error }));
      else resolve({ seed: Number(seed), what });
    });
  });
}

/** The directory that a dependency is found in. */
function modulesOf(name: string): string {
  const path = new URL(import.meta.resolve(name)).pathname;
  return path.slice(0, path.lastIndexOf(`/node_modules/${name}/`) + "/node_modules".length);
}
