import { execFile } from "node:child_process";
import { availableParallelism } from "node:os";
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
])(
  "atoll %s: whether V8's new objects and its threads are bounded: %s",
  async (command, isBounded) => {
    const { stderr } = await promisify(execFile)(process.execPath, [ATOLL, command, "--help"], {
      env: { ...process.env, NODE_OPTIONS: `--import=${TELL}` },
    });
    const given = stderr.trim().split("\n").at(-1) ?? "";
    expect(given.includes("--max-semi-space-size=8")).toBe(isBounded);
    // Of two cores one is left to the main thread; more threads than V8's own four there never are.
    const threads = Math.max(1, Math.min(4, availableParallelism() - 1));
    expect(given.includes(`--v8-pool-size=${threads}`)).toBe(isBounded);
  },
);
