import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Region } from "@atoll/control-plane/contract";
import { expect, test } from "vitest";
import { haproxyConfig, type HaproxyConfigOptions } from "./haproxy-config.ts";
import { writeHaproxyFiles } from "./haproxy-files.ts";
import { PATHS } from "./haproxy-paths.ts";
import { findHaproxy } from "./haproxy-process.ts";

const OPTIONS: HaproxyConfigOptions = {
  address: "127.0.0.1",
  port: 4401,
  region: Region.parse("fra"),
  user: { userId: 103, groupId: 111 },
  threads: 2,
  cores: [2, 3],
  connectionsMax: 15_000,
  requestHeadMs: 10_000,
  drainMs: 30_000,
  cellBackends: 1,
  workerCellsMax: 3,
  webSocketsMax: 5_000,
  answerIdleMs: 300_000,
};

test("haproxy config: is what was reviewed", async () => {
  await expect(haproxyConfig(OPTIONS)).toMatchFileSnapshot("haproxy-config.expected.cfg");
});

test("haproxy config: without root the process is what the agent is", () => {
  expect(haproxyConfig({ ...OPTIONS, user: undefined })).not.toMatch(/\b(uid|gid|chroot) /);
});

test("haproxy config: where the kernel tells of no processors, threads run wherever it puts them", () => {
  expect(haproxyConfig({ ...OPTIONS, cores: [] })).not.toContain("cpu-map");
});

test("haproxy config: HAProxy reads it", async () => {
  const binary = await findHaproxy();
  if (binary.kind === "missing") throw new Error(binary.reason);
  const directory = await mkdtemp(join(tmpdir(), "haproxy-config-"));
  try {
    await writeHaproxyFiles(directory, { ...OPTIONS, user: undefined });
    const check = await promisify(execFile)(binary.path, ["-c", "-f", PATHS.config], {
      cwd: directory,
    });
    expect(check.stdout).toContain("Configuration file is valid");
    expect(check.stderr).not.toMatch(/WARNING|ALERT/);
  } finally {
    await rm(directory, { recursive: true });
  }
});
