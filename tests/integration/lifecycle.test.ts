import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { findFreePorts } from "../support/free-ports.ts";

const MAIN = new URL("../../cli/src/main.ts", import.meta.url).pathname;

/** Ids of every process that was started, by whomever, with this data directory in its arguments. */
async function processesOf(dataDirectory: string): Promise<ReadonlyArray<number>> {
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    // A process that ended since it was listed has no command line any more.
    const commandLine = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
    if (commandLine.includes(dataDirectory)) found.push(Number(name));
  }
  return found;
}

/** Ids of the descendants of processes: cells do not name the data directory. */
async function descendantsOf(pids: ReadonlyArray<number>): Promise<ReadonlyArray<number>> {
  const all = new Set(pids);
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
    const parent = Number(/\) \S (\d+)/.exec(stat)?.[1]);
    if (all.has(parent)) all.add(Number(name));
  }
  return [...all];
}

async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  // A zombie holds nothing: it only waits for whoever adopted it.
  return stat !== undefined && !/\) Z /.test(stat);
}

/** What the `atoll` command says, and how it ends. */
async function run(
  commandArguments: ReadonlyArray<string>,
  environment: Readonly<Record<string, string>>,
): Promise<{ readonly code: number; readonly output: string }> {
  const child = spawn(process.execPath, [MAIN, ...commandArguments], {
    env: { PATH: process.env["PATH"], ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  child.stdout.on("data", (piece: Buffer) => output.push(piece.toString()));
  child.stderr.on("data", (piece: Buffer) => output.push(piece.toString()));
  const [code] = (await once(child, "close")) as [number];
  return { code, output: output.join("") };
}

describe("atoll up", () => {
  let atoll: TestAtoll;
  beforeAll(async () => {
    atoll = await startAtoll({ withStarter: true });
  });
  afterAll(() => atoll.stop());

  test("leaves no process when it is killed, and starts again on the same data", async () => {
    const parts = await processesOf(atoll.dataDirectory);
    expect(parts.length).toBeGreaterThanOrEqual(4);
    await atoll.get("iad", "starter.localhost", "/");
    const all = await descendantsOf(parts);
    // The parts, and a zygote at least for each of the three nodes.
    expect(all.length).toBeGreaterThanOrEqual(7);
    await atoll.kill();
    for (const pid of all) {
      await eventually(async () => !(await isRunning(pid)), { what: `process ${pid} is gone` });
    }
    await atoll.restart();
    expect((await atoll.get("fra", "starter.localhost", "/")).status).toBe(200);
  });

  test("lets no second one use its data, nor a part of it, and goes on", async () => {
    await atoll.get("iad", "starter.localhost", "/");
    const ATOLL_PORT = String(await findFreePorts(4));
    const whole = await run(["up"], { ATOLL_DATA: atoll.dataDirectory, ATOLL_PORT });
    expect(whole.output).toMatch(/^atoll: Another Atoll uses .*: stop that one first/);
    expect(whole.code).toBe(1);
    const data = (part: string): string => join(atoll.dataDirectory, part);
    const node = ["node", "--control-plane", atoll.url, "--region", "iad"];
    const [second, other] = await Promise.all([
      atoll.atoll(["control-plane", "--data", data("control-plane"), "--port", "1"]),
      atoll.atoll([...node, "--data", data("nodes/iad"), "--port", "1"]),
    ]);
    expect(second.output).toMatch(/^atoll: Another control plane uses .*: stop that one first/);
    expect(other.output).toMatch(/^atoll: Another node uses .*: stop that one first/);
    expect([second.exitCode, other.exitCode]).toEqual([1, 1]);
    const { status, headers } = await atoll.get("iad", "starter.localhost", "/");
    expect([status, headers["x-atoll-cold"]]).toEqual([200, undefined]);
  });

  test("says which port is taken, and by which variable to move", async () => {
    const { output, exitCode } = await atoll.atoll(["up"]);
    expect(exitCode).toBe(1);
    expect(output).toMatch(/^atoll: Port \d+ of 127\.0\.0\.1 is in use\..*ATOLL_PORT/);
  });
});

describe("the atoll command", () => {
  test.each([
    { given: ["up"], environment: { ATOLL_PORT: "http" }, says: /ATOLL_PORT=http is no good/ },
    { given: ["up"], environment: { ATOLL_PORT: "65535" }, says: /ATOLL_PORT=65535 is no good/ },
    {
      given: ["status"],
      environment: { ATOLL_DATA: "/nowhere" },
      says: /Start one with 'atoll up'/,
    },
    { given: ["nonsense"], environment: {}, says: /unknown command 'nonsense'/ },
    { given: ["join-token", "--data", "/nowhere"], environment: {}, says: /does not exist/ },
    {
      given: ["node", "--control-plane", "ftp://x", "--region", "fra", "--data", "/nowhere"],
      environment: {},
      says: /--control-plane 'ftp:\/\/x' is no http/,
    },
    {
      given: ["node", "--control-plane", "http://x", "--region", "Fra!", "--data", "/nowhere"],
      environment: {},
      says: /--region 'Fra!' is no good: a region has 2 to 12 characters/,
    },
  ])("$given refuses bad input in one sentence", async ({ given, environment, says }) => {
    const { code, output } = await run(given, environment);
    expect(output).toMatch(says);
    expect(output).not.toMatch(/^ {4}at /m);
    expect(code).toBe(1);
  });

  test.each([
    { given: ["join-token"] },
    { given: ["account", "create", "x"] },
    { given: ["master-key", "rotate"] },
    { given: ["kv", "recreate"] },
  ])("$given makes no control plane's data in a folder that has none", async ({ given }) => {
    const folder = await mkdtemp(join(tmpdir(), "atoll-no-data-"));
    const { code, output } = await run([...given, "--data", folder], {});
    const made = await readdir(folder);
    await rm(folder, { recursive: true });
    expect(output).toMatch(/is not the data folder of a control plane: run this where/);
    expect([code, made]).toEqual([1, []]);
  });
});
