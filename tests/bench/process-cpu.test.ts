import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { readTreeCpuMs } from "./process-cpu.ts";

const BURN_MS = 200;
// Counts CPU time, so it burns as much on a busy machine; then it waits for a word.
const CHILD = `
  while (process.cpuUsage().user < ${BURN_MS * 1_000});
  process.stdout.write("burnt");
  process.stdin.once("data", () => process.exit());`;
const PARENT = `
  const child = [process.execPath, ["-e", process.argv[1]], { stdio: "inherit" }];
  require("node:child_process").spawnSync(...child);
  process.stdout.write("reaped");
  setInterval(() => {}, 60_000);`;

test("process CPU: time of a descendant counts while it runs and after it ended", async () => {
  const parent = spawn(process.execPath, ["-e", PARENT, CHILD], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const pid = parent.pid ?? 0;
  try {
    await once(parent.stdout, "data");
    const running = await readTreeCpuMs(pid);
    expect(running).toBeGreaterThanOrEqual(BURN_MS);
    parent.stdin.write("end");
    await once(parent.stdout, "data");
    expect(await readTreeCpuMs(pid)).toBeGreaterThanOrEqual(running);
  } finally {
    const exited = once(parent, "exit");
    parent.kill("SIGKILL");
    await exited;
  }
});

test("process CPU: a process that is gone is an error", async () => {
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  await expect(readTreeCpuMs(pid)).rejects.toThrow(`there is no process ${pid}`);
});
