import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { expect, onTestFinished, test } from "vitest";
import { ProcessCounters } from "../cells/process-table.ts";
import { findHierarchies, type Controller } from "./cgroup-hierarchies.ts";
import { ControlGroups } from "./control-groups.ts";

const { hierarchies } = await findHierarchies();
const isWritable = hierarchies.length > 0 && process.getuid?.() === 0;

async function open(owner: string): Promise<ControlGroups> {
  const { groups } = await ControlGroups.open({ owner, cores: 2 });
  onTestFinished(async () => {
    await groups.clear();
    await groups.close();
  });
  return groups;
}

/** Has a process become a cell, as hosts do. */
async function start(
  groups: ControlGroups,
  { cell, pid, account = "account", memoryBytes = 1e9 }: StartOptions,
): Promise<void> {
  await groups.add(cell, pid);
  await groups.assign(cell, { pid, account, memoryBytes });
}

interface StartOptions {
  readonly cell: string;
  readonly pid: number;
  readonly account?: string;
  readonly memoryBytes?: number;
}

/** Where a process is that nobody waited for on its way from those that have no account. */
function settledGroupOf(pid: number): Promise<string> {
  return waitFor(async () => {
    const group = await groupOf(pid, "cpu");
    expect(group).not.toMatch(/zygotes$/);
    return group;
  });
}

/** A process that takes memory when a line arrives, and ends. */
function startEater(): ReturnType<typeof spawn> {
  const program = `<STDIN>; my $x = ""; $x .= "x" x 1_000_000 for 1 .. 200; print "done";`;
  return spawn("/usr/bin/perl", ["-e", program], { stdio: ["pipe", "pipe", "ignore"] });
}

async function groupOf(pid: number, controller: Controller): Promise<string> {
  const lines = (await readFile(`/proc/${pid}/cgroup`, "utf8")).split("\n");
  const line = lines.find((each) => each.includes(`:${controller}:`)) ?? lines.at(-2) ?? "";
  return line.slice(line.lastIndexOf(":") + 1);
}

test.runIf(isWritable)(
  "control groups: the kernel ends who takes too much, and counts it",
  async () => {
    const groups = await open("test of memory");
    const eater = startEater();
    const ended = new Promise<unknown[]>((resolve) =>
      eater.once("close", (...end) => resolve(end)),
    );
    await start(groups, { cell: "cell", pid: eater.pid ?? 0, memoryBytes: 50_000_000 });
    expect(await groups.wasOutOfMemory("cell")).toBe(false);
    eater.stdin?.end("go\n");
    expect(await ended).toEqual([null, "SIGKILL"]);
    expect(await groups.wasOutOfMemory("cell")).toBe(true);
    await groups.remove("cell");
  },
);

test.runIf(isWritable)("control groups: what stays below its limit goes on", async () => {
  const groups = await open("test of restraint");
  const eater = startEater();
  const ended = new Promise<unknown[]>((resolve) => eater.once("close", (...end) => resolve(end)));
  await start(groups, { cell: "cell", pid: eater.pid ?? 0, memoryBytes: 600_000_000 });
  eater.stdin?.end("go\n");
  expect(await ended).toEqual([0, null]);
  expect(await groups.wasOutOfMemory("cell")).toBe(false);
});

test.runIf(isWritable)("control groups: who has all of its memory gets no swap", async () => {
  const groups = await open("test of swap");
  const child = spawn("/usr/bin/sleep", ["60"]);
  const ended = new Promise((resolve) => child.once("close", resolve));
  const pid = child.pid ?? 0;
  await start(groups, { cell: "cell", pid, memoryBytes: 64 * 1024 * 1024 });
  const memory = hierarchies.find(({ controllers }) => controllers.includes("memory"));
  const line = await groupOf(pid, "memory");
  child.kill("SIGKILL");
  await ended;
  const group = line.slice(line.indexOf("atoll-"));
  const [file, bytes] =
    memory?.version === 1
      ? ["memory.memsw.limit_in_bytes", `${64 * 1024 * 1024}`]
      : ["memory.swap.max", "0"];
  const path = join(memory?.directory ?? "", group, file);
  // Not every kernel counts swap.
  expect(existsSync(path) ? (await readFile(path, "utf8")).trim() : bytes).toBe(bytes);
});

test.runIf(isWritable)("control groups: processor time and memory are counted", async () => {
  const groups = await open("test of counting");
  const eater = startEater();
  const ended = new Promise<unknown[]>((resolve) => eater.once("close", (...end) => resolve(end)));
  await groups.add("cell", eater.pid ?? 0);
  const before = groups.usage("cell");
  expect(before.memoryPeakBytes).toBeLessThan(50_000_000);
  eater.stdin?.end("go\n");
  await ended;
  const after = groups.usage("cell");
  // Writing 200 MB takes some milliseconds at least, and is known after the end.
  expect((after.cpuNs ?? 0) - (before.cpuNs ?? 0)).toBeGreaterThan(1_000_000);
  expect(after.memoryPeakBytes).toBeGreaterThan(200_000_000);
  expect(groups.usage("nobody")).toEqual({ cpuNs: undefined, memoryPeakBytes: undefined });
});

test.runIf(isWritable)(
  "control groups: nothing is left, also of what an earlier agent left",
  async () => {
    const owner = "test of leftovers";
    const earlier = await open(owner);
    const waiting = spawn("/usr/bin/sleep", ["60"]);
    const left = spawn("/usr/bin/sleep", ["60"]);
    await earlier.add("waiting", waiting.pid ?? 0);
    await start(earlier, { cell: "left", pid: left.pid ?? 0 });
    await waitFor(async () =>
      expect(await groupOf(left.pid ?? 0, "cpu")).toMatch(/atoll-[0-9a-f]{12}\/account\/left$/),
    );
    expect(await groupOf(waiting.pid ?? 0, "cpu")).toMatch(/atoll-[0-9a-f]{12}\/zygotes$/);
    const [, name = ""] = /(atoll-[0-9a-f]{12})/.exec(await groupOf(left.pid ?? 0, "cpu")) ?? [];
    const ended = [waiting, left].map(
      (each) => new Promise((resolve) => each.once("close", resolve)),
    );
    for (const each of [waiting, left]) each.kill("SIGKILL");
    await Promise.all(ended);
    const later = await open(owner);
    await later.clear();
    await later.close();
    await later.close();
    const remains = hierarchies.filter(({ directory }) => existsSync(join(directory, name)));
    expect(remains).toEqual([]);
  },
);

test.runIf(isWritable)(
  "control groups: an account's group goes with its last cell, and comes again",
  async () => {
    const groups = await open("test of accounts");
    const cpu = hierarchies.find(({ controllers }) => controllers.includes("cpu"));
    const sleepers = ["one", "two"].map((cell) => ({
      cell,
      child: spawn("/usr/bin/sleep", ["60"]),
    }));
    for (const { cell, child } of sleepers) await start(groups, { cell, pid: child.pid ?? 0 });
    const [, path = ""] =
      /(.*)\/one$/.exec(await settledGroupOf(sleepers[0]?.child.pid ?? 0)) ?? [];
    const account = join(cpu?.directory ?? "", path.slice(path.indexOf("atoll-")));
    for (const { cell, child } of sleepers) {
      expect(existsSync(account)).toBe(true);
      const ended = new Promise((resolve) => child.once("close", resolve));
      child.kill("SIGKILL");
      await ended;
      await groups.remove(cell);
    }
    expect(existsSync(account)).toBe(false);
    const again = spawn("/usr/bin/sleep", ["60"]);
    await start(groups, { cell: "three", pid: again.pid ?? 0 });
    expect(await settledGroupOf(again.pid ?? 0)).toMatch(/account\/three$/);
    const ended = new Promise((resolve) => again.once("close", resolve));
    again.kill("SIGKILL");
    await ended;
  },
);

test.runIf(isWritable)(
  "control groups: an account with three busy cells gets no more than one with one",
  async () => {
    const groups = await open("test of fairness");
    const spinners = ["many", "many", "many", "single"].map((account, index) => {
      // All on one core: only there do they have to share.
      const command = ["-c", "0", "/usr/bin/perl", "-e", "<STDIN>; 1 while 1"];
      const child = spawn("/usr/bin/taskset", command, { stdio: ["pipe", "ignore", "ignore"] });
      const counters = new ProcessCounters(child.pid ?? 0);
      return { account, cell: `spinner-${index}`, child, counters };
    });
    try {
      for (const { account, cell, child } of spinners) {
        await start(groups, { account, cell, pid: child.pid ?? 0 });
        await settledGroupOf(child.pid ?? 0);
      }
      for (const { child } of spinners) child.stdin?.write("go\n");
      const usedMs = (wanted: string): number =>
        spinners
          .filter(({ account }) => account === wanted)
          .reduce((sum, { counters }) => sum + (counters.times()?.ranNs ?? 0) / 1e6, 0);
      await waitFor(() => expect(usedMs("single") + usedMs("many")).toBeGreaterThan(2_000));
      const ratio = usedMs("many") / usedMs("single");
      // Between cells alone it would be 3.
      expect(ratio).toBeGreaterThan(0.5);
      expect(ratio).toBeLessThan(2);
    } finally {
      const ended = spinners.map(
        ({ child }) => new Promise((resolve) => child.once("close", resolve)),
      );
      for (const { child, counters } of spinners) {
        child.kill("SIGKILL");
        counters.close();
      }
      await Promise.all(ended);
    }
  },
  90_000,
);

test("control groups: what a host lacks is said, and the rest works without it", async () => {
  const { groups, shortfalls } = await ControlGroups.open({ owner: "test of lacks", cores: 1 });
  expect(shortfalls.length === 0 || !groups.limitsMemory).toBe(true);
  await groups.close();
});
