import { spawn } from "node:child_process";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { expect, test } from "vitest";
import { readStartTicks } from "./process-table.ts";
import { DIE_WITH_AGENT, NO_SANDBOX } from "../sandbox/sandbox.ts";
import { WorkerdHost } from "./workerd-host.ts";
import { makeTestDirectory } from "./test-directory.ts";

// An agent as far as its host goes: it opens one in the directory that it is given, and stays.
const AGENT = `
  const [host, pino, sandbox, runDirectory] = process.argv.slice(1);
  const { WorkerdHost } = await import(host);
  const sandboxes = await import(sandbox);
  await WorkerdHost.open({ runDirectory, zygoteCount: 2, log: (await import(pino)).default({ level: "silent" }),
    confinement: { sandbox: sandboxes[process.env.SANDBOX], shortfalls: [] } });
  setInterval(() => {}, 60_000);
`;

/** Starts an agent with two zygotes, kills it, and answers the zygotes' pids. */
async function killedAgent(runDirectory: string, sandbox: string): Promise<ReadonlyArray<number>> {
  const modules = ["./workerd-host.ts", "pino", "../sandbox/sandbox.ts"].map((name) =>
    import.meta.resolve(name),
  );
  const agent = spawn(
    process.execPath,
    ["--input-type=module", "-e", AGENT, ...modules, runDirectory],
    { stdio: ["ignore", "ignore", "inherit"], env: { SANDBOX: sandbox } },
  );
  try {
    const records = await waitFor(async () => {
      const names = (await readdir(runDirectory)).filter((name) => name.endsWith(".pid"));
      expect(names).toHaveLength(2);
      return Promise.all(names.map((name) => readFile(join(runDirectory, name), "utf8")));
    });
    return records.map((record) => Number(record.split(" ")[0]));
  } finally {
    agent.kill("SIGKILL");
  }
}

test("cells: they die with an agent that is killed", async () => {
  const directory = await makeTestDirectory("atoll-death-");
  try {
    const pids = await killedAgent(join(directory, "run"), "DIE_WITH_AGENT");
    for (const pid of pids) {
      await waitFor(async () => expect(await readStartTicks(pid)).toBeUndefined());
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("cells: what a killed agent left anyway goes when the next one starts", async () => {
  const directory = await makeTestDirectory("atoll-death-");
  const runDirectory = join(directory, "run");
  try {
    const pids = await killedAgent(runDirectory, "NO_SANDBOX");
    const log = pino({ level: "silent" });
    const host = await WorkerdHost.open({ runDirectory, zygoteCount: 0, log });
    expect(await readdir(runDirectory)).toEqual([]);
    for (const pid of pids) expect(await readStartTicks(pid)).toBeUndefined();
    await host.dispose();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("cells: a sandbox wraps the command that starts workerd", () => {
  const command = { file: "/bin/workerd", args: ["serve"] };
  expect(NO_SANDBOX.wrap(command, "/cell")).toEqual(command);
  expect(DIE_WITH_AGENT.wrap(command, "/cell")).toEqual({
    file: "/usr/bin/setpriv",
    args: ["--pdeathsig", "KILL", "/bin/workerd", "serve"],
  });
});
