import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const ATOLL = fileURLToPath(new URL("../../bin/atoll.mjs", import.meta.url));
// Each process tells what Node was started with, the launcher first.
const TELL = "data:text/javascript,console.error(JSON.stringify(process.execArgv))";

test.each([
  ["control-plane", ["--max-semi-space-size=8", "--heap-growing-percent=60"]],
  ["node", ["--max-semi-space-size=8"]],
  ["status", []],
])("atoll %s: what V8 keeps of garbage is bounded by %j", async (command, bounds) => {
  const { stderr } = await promisify(execFile)(process.execPath, [ATOLL, command, "--help"], {
    env: { ...process.env, NODE_OPTIONS: `--import=${TELL}` },
  });
  const given = JSON.parse(stderr.trim().split("\n").at(-1) ?? "") as ReadonlyArray<string>;
  expect(given.filter((argument) => /semi-space|heap/.test(argument))).toEqual(bounds);
});
