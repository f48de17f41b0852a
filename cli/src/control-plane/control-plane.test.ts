import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));
// What does not end never does; a start takes seconds where all cores are busy.
const END_MS = 40_000;

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-control-plane-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** Starts a control plane that can't start; resolves with what it says when it has ended by itself. */
async function outputOf(port: number, environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const child = spawn(
    process.execPath,
    [MAIN, "control-plane", "--data", directory, "--port", String(port)],
    { env: { ...process.env, ...environment }, stdio: ["ignore", "ignore", "pipe"] },
  );
  const output: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (piece: string) => output.push(piece));
  const kill = setTimeout(() => child.kill("SIGKILL"), END_MS);
  const ending: unknown[] = await once(child, "close");
  clearTimeout(kill);
  expect(ending).toEqual([1, null]);
  return output.join("");
}

test("atoll control-plane: ends where it can't listen, so that whoever runs it starts it again", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  try {
    const { port } = taken.address() as AddressInfo;
    expect(await outputOf(port)).toMatch(/EADDRINUSE/);
  } finally {
    taken.close();
  }
});

test("atoll control-plane: ends with a master key that is none", async () => {
  expect(await outputOf(1, { ATOLL_MASTER_KEY: "abc" })).toMatch(/ATOLL_MASTER_KEY/);
});
