import { execFile } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const ATOLL = fileURLToPath(new URL("../../bin/atoll.mjs", import.meta.url));
// Each process tells what Node was started with, the launcher first.
const TELL = "data:text/javascript,console.error(JSON.stringify(process.execArgv))";

// Of two cores one is left to the main thread; more threads than V8's own four there never are.
const THREADS = `--v8-pool-size=${Math.max(1, Math.min(4, availableParallelism() - 1))}`;

test.each([
  ["control-plane", ["--max-semi-space-size=4", "--heap-growing-percent=60", THREADS]],
  ["node", ["--max-semi-space-size=8", THREADS]],
  ["status", []],
])("atoll %s: V8's garbage and its threads are bounded by %j", async (command, bounds) => {
  const { stderr } = await promisify(execFile)(process.execPath, [ATOLL, command, "--help"], {
    env: { ...process.env, NODE_OPTIONS: `--import=${TELL}` },
  });
  const given = JSON.parse(stderr.trim().split("\n").at(-1) ?? "") as ReadonlyArray<string>;
  expect(given.filter((argument) => /semi-space|heap|pool/.test(argument))).toEqual(bounds);
});
