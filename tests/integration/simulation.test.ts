import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { IS_THOROUGH } from "../support/atoll.ts";

const ROOT = join(import.meta.dirname, "../..");
// Each bug runs in a process of its own, some for many seeds: minutes on a busy machine, so it is asked for.
const TIMEOUT_MS = 900_000;

test.runIf(IS_THOROUGH)(
  "simulation: finds each deliberate bug of the replication's core, and nothing where there is none",
  async () => {
    const arguments_ = ["scripts/launch.mjs", "kv-store/src/replication/simulation/main.ts"];
    const { stdout } = await promisify(execFile)(process.execPath, [...arguments_, "--mutations"], {
      cwd: ROOT,
      timeout: TIMEOUT_MS,
    });
    expect(stdout).not.toContain("NOT FOUND");
    const [, found, all] = /^(\d+) of (\d+) deliberate bugs were found$/m.exec(stdout) ?? [];
    expect(found).toBe(all);
    expect(Number(all)).toBeGreaterThanOrEqual(20);
  },
  TIMEOUT_MS,
);

test("simulation: npm run simulate says what it ran, and what to ask for again", async () => {
  const run = promisify(execFile);
  const flags = ["run", "--silent", "simulate", "--", "--seeds", "3", "--first", "7"];
  const { stdout } = await run("npm", flags, { cwd: ROOT });
  expect(stdout).toMatch(/^3 seeds from 7 on \d+ threads?\n.* times real time/);
  expect(stdout).toMatch(/\nno promise was broken: 3 seeds from 7\n$/);
  const replay = ["run", "--silent", "simulate", "--", "--seed", "8"];
  const [first, second] = [
    await run("npm", replay, { cwd: ROOT }),
    await run("npm", replay, { cwd: ROOT }),
  ];
  expect(first.stdout).toMatch(/^seed 8: \{"kind":"dense","world":"hostile"/);
  expect(second.stdout).toBe(first.stdout);
});
