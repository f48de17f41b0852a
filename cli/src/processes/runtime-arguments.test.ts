import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const ATOLL = fileURLToPath(new URL("../../bin/atoll.mjs", import.meta.url));
// Each process tells what Node was started with, the launcher first.
const TELL = "data:text/javascript,console.error(JSON.stringify(process.execArgv))";

test.each([
  ["control-plane", true],
  ["node", true],
  ["status", false],
])("atoll %s: whether what V8 keeps of new objects is bounded: %s", async (command, isBounded) => {
  const { stderr } = await promisify(execFile)(process.execPath, [ATOLL, command, "--help"], {
    env: { ...process.env, NODE_OPTIONS: `--import=${TELL}` },
  });
  expect(stderr.trim().split("\n").at(-1)?.includes("--max-semi-space-size=8")).toBe(isBounded);
});
