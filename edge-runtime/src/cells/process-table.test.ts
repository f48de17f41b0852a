import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { isEnding } from "./process-table.ts";

test("process table: a process that runs or waits is not ending, one that is gone is", () => {
  expect(isEnding(process.pid)).toBe(false);
  const { pid } = spawnSync(process.execPath, ["-e", ""]);
  expect(isEnding(pid)).toBe(true);
});

test("process table: a process that was killed is ending before anybody took note of its end", async () => {
  // Its parent never asks for the end of the child, whose number it tells.
  const parent = spawn("/bin/sh", ["-c", "sleep 60 & echo $!; exec sleep 60"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [output] = await once(parent.stdout, "data");
    const pid = Number(String(output));
    expect(isEnding(pid)).toBe(false);
    process.kill(pid, "SIGKILL");
    // At once: the signal may wait for its turn on the processor.
    expect(isEnding(pid)).toBe(true);
    process.kill(pid, 0);
  } finally {
    const exited = once(parent, "exit");
    parent.kill("SIGKILL");
    await exited;
  }
});
