import { readdir, readFile, readlink, rm } from "node:fs/promises";
import { join } from "node:path";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeTestDirectory } from "../cells/test-directory.ts";
import { WorkerdHost } from "../cells/workerd-host.ts";
import { sampleCellSpec } from "../cells/sample-spec.ts";
import type { Cell } from "../cells/cell-host.ts";
import { cellUser } from "./cell-user.ts";

let directory: string;
let host: WorkerdHost;
let cell: Cell;

beforeEach(async () => {
  directory = await makeTestDirectory("atoll-sandbox-");
  const log = pino({ level: "silent" });
  host = await WorkerdHost.open({ runDirectory: join(directory, "run"), zygoteCount: 0, log });
  cell = await host.start(
    await sampleCellSpec("export default { fetch() { return new Response(); } };", directory),
  );
});

afterEach(async () => {
  await host.dispose();
  await rm(directory, { recursive: true, force: true });
});

/** Fields of the cell's `/proc/<pid>/status`. */
async function statusOf(pid: number): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(`/proc/${pid}/status`, "utf8");
  const lines = text.trim().split("\n");
  return new Map(lines.map((line) => [line.split(":")[0] ?? "", line.split(/:\s*/)[1] ?? ""]));
}

test("bubblewrap: a cell has no rights, and the filter is on", async () => {
  const status = await statusOf(cell.pid);
  for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
    expect(status.get(set)).toBe("0000000000000000");
  }
  expect(status.get("NoNewPrivs")).toBe("1");
  expect(status.get("Seccomp")).toBe("2");
  const user = cellUser(join(directory, "run")) ?? process.getuid?.();
  expect(status.get("Uid")?.split("\t")).toEqual(Array.from({ length: 4 }, () => `${user}`));
  expect(status.get("Groups")?.trim()).toBe("");
});

test("bubblewrap: every namespace is the cell's own, and it is alone among processes", async () => {
  for (const kind of ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"]) {
    const own = await readlink(`/proc/${cell.pid}/ns/${kind}`);
    expect(own).not.toBe(await readlink(`/proc/self/ns/${kind}`));
  }
  expect((await statusOf(cell.pid)).get("NSpid")?.split("\t").at(-1)).toBe("1");
});

test("bubblewrap: the root holds workerd, its libraries and the cell, and nothing of the host", async () => {
  const root = `/proc/${cell.pid}/root`;
  expect((await readdir(root)).toSorted()).toEqual(
    expect.arrayContaining(["cell", "proc", "tmp", "workerd"]) as string[],
  );
  for (const name of ["etc", "home", "root", "usr", "var", "dev", "run", "work"]) {
    expect(await readdir(root)).not.toContain(name);
  }
  expect(await readdir(`${root}/sys`, { recursive: true })).toEqual([
    "devices",
    "devices/system",
    "devices/system/cpu",
    "devices/system/cpu/possible",
  ]);
  const mounts = (await readFile(`/proc/${cell.pid}/mounts`, "utf8")).trim().split("\n");
  const writable = mounts.flatMap((mount) => {
    const [, path = "", , options = ""] = mount.split(" ");
    return options.split(",").includes("rw") ? [path] : [];
  });
  expect(writable.toSorted()).toEqual(["/cell", "/tmp"]);
});

test("bubblewrap: no descriptor leads out of the sandbox, and the environment holds nothing of the host's", async () => {
  const targets = await waitFor(async () => {
    const descriptors = await readdir(`/proc/${cell.pid}/fd`);
    // Rejected when one is closed meanwhile.
    return Promise.all(descriptors.map((name) => readlink(`/proc/${cell.pid}/fd/${name}`)));
  });
  for (const target of targets) {
    expect(target).toMatch(/^(?:socket:|pipe:|anon_inode:|\/$|\/cell$|\/dev\/null$)/);
  }
  expect(await readFile(`/proc/${cell.pid}/environ`, "utf8")).toMatch(
    /^GLIBC_TUNABLES=glibc.pthread.rseq=0\0(?:PWD=\/cell\0)?$/,
  );
});
