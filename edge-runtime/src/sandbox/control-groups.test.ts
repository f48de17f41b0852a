import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
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
    await groups.add("cell", eater.pid ?? 0);
    await groups.limitMemory("cell", 50_000_000);
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
  await groups.add("cell", eater.pid ?? 0);
  await groups.limitMemory("cell", 600_000_000);
  eater.stdin?.end("go\n");
  expect(await ended).toEqual([0, null]);
  expect(await groups.wasOutOfMemory("cell")).toBe(false);
});

test.runIf(isWritable)(
  "control groups: nothing is left, also of what an earlier agent left",
  async () => {
    const owner = "test of leftovers";
    const earlier = await open(owner);
    const sleeper = spawn("/usr/bin/sleep", ["60"]);
    await earlier.add("left", sleeper.pid ?? 0);
    const memory = hierarchies.find(({ controllers }) => controllers.includes("memory"));
    const group = await groupOf(sleeper.pid ?? 0, "memory");
    expect(group).toMatch(/atoll-[0-9a-f]{12}\/left$/);
    const ended = new Promise((resolve) => sleeper.once("close", resolve));
    sleeper.kill("SIGKILL");
    await ended;
    const later = await open(owner);
    await later.clear();
    await later.close();
    await later.close();
    const name = group.split("/").at(-2) ?? "";
    expect(existsSync(join(memory?.directory ?? "/", name))).toBe(false);
  },
);

test("control groups: what a host lacks is said, and the rest works without it", async () => {
  const { groups, shortfalls } = await ControlGroups.open({ owner: "test of lacks", cores: 1 });
  expect(shortfalls.length === 0 || !groups.limitsMemory).toBe(true);
  await groups.close();
});
