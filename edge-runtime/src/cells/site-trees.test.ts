import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { SiteTrees } from "./site-trees.ts";

let directory: string;
let site: string;
let clock: ManualClock;
let trees: SiteTrees;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-trees-"));
  site = join(directory, "site");
  await mkdir(join(site, "a", "b"), { recursive: true });
  await writeFile(join(site, "index.html"), "home");
  await writeFile(join(site, "a", "b", "ü.txt"), "deep", { mode: 0o600 });
  await utimes(join(site, "index.html"), 1_000, 2_000);
  clock = new ManualClock();
  const log = pino({ level: "silent" });
  trees = new SiteTrees({ directory: join(directory, "ready"), clock, log });
});

afterEach(async () => {
  await trees.close();
  await rm(directory, { recursive: true, force: true });
});

function target(number: number): string {
  return join(directory, `cell-${number}`);
}

async function readyCount(): Promise<number> {
  return (await readdir(join(directory, "ready")).catch(() => [])).length;
}

test("site trees: a cell gets every file, readable to others, with its time", async () => {
  await trees.take(site, target(1));
  expect(await readFile(join(target(1), "a", "b", "ü.txt"), "utf8")).toBe("deep");
  expect((await stat(join(target(1), "a", "b", "ü.txt"))).mode & 0o777).toBe(0o644);
  const file = await stat(join(target(1), "index.html"));
  expect(file.mtimeMs).toBe(2_000_000);
  // The same file, not a copy: no site takes room twice.
  expect(file.ino).toBe((await stat(join(site, "index.html"))).ino);
  // Nobody asked for one to lie ready.
  expect(await readyCount()).toBe(0);
});

test("site trees: one lies ready for the next cell, and another one after that", async () => {
  trees.keepReady([site]);
  for (const number of [1, 2, 3]) {
    await waitFor(async () => expect(await readyCount()).toBe(1));
    await trees.take(site, target(number));
    expect(await readFile(join(target(number), "index.html"), "utf8")).toBe("home");
    expect(await readyCount()).toBe(0);
    clock.advance(LIMITS.siteTreeRefillMs);
  }
});

test("site trees: what a cell had is the next one's, and none is made", async () => {
  trees.keepReady([site]);
  const first = await trees.take(site, target(1));
  await trees.giveBack(first);
  expect(await readdir(directory)).not.toContain("cell-1");
  clock.advance(LIMITS.siteTreeRefillMs);
  expect(await readyCount()).toBe(1);
  const second = await trees.take(site, target(2));
  expect(second.inode).toBe(first.inode);
  expect(await readFile(join(target(2), "a", "b", "ü.txt"), "utf8")).toBe("deep");
});

test("site trees: what a cell had stays there when one is ready, or nobody wants it", async () => {
  trees.keepReady([site]);
  const [one, two, three] = await Promise.all(
    [1, 2, 3].map((number) => trees.take(site, target(number))),
  );
  if (one === undefined || two === undefined || three === undefined) throw new Error("none");
  await trees.giveBack(one);
  await trees.giveBack(two);
  expect(await readyCount()).toBe(1);
  trees.keepReady([]);
  await trees.giveBack(three);
  expect((await readdir(directory)).filter((name) => name.startsWith("cell"))).toHaveLength(2);
  await waitFor(async () => expect(await readyCount()).toBe(0));
});

test("site trees: what a cell has put in the place of its tree is not taken back", async () => {
  trees.keepReady([site]);
  const tree = await trees.take(site, target(1));
  await rename(target(1), target(2));
  await mkdir(target(1));
  await writeFile(join(target(1), "index.html"), "somebody else's");
  await trees.giveBack(tree);
  expect(await readyCount()).toBe(0);
  await trees.take(site, target(3));
  expect(await readFile(join(target(3), "index.html"), "utf8")).toBe("home");
});

test("site trees: cells that start at the same time have a tree each", async () => {
  trees.keepReady([site]);
  await Promise.all([1, 2, 3, 4].map((number) => trees.take(site, target(number))));
  for (const number of [1, 2, 3, 4]) {
    expect((await readdir(target(number))).toSorted()).toEqual(["a", "index.html"]);
  }
});

test("site trees: sites that are not kept are forgotten", async () => {
  trees.keepReady([site]);
  await waitFor(async () => expect(await readyCount()).toBe(1));
  trees.keepReady([]);
  await waitFor(async () => expect(await readyCount()).toBe(0));
});

test("site trees: a site that is not there fails who takes it, and nobody else", async () => {
  const missing = join(directory, "missing");
  trees.keepReady([missing, site]);
  await expect(trees.take(missing, target(1))).rejects.toMatchObject({ code: "ENOENT" });
  await trees.take(site, target(2));
});

test("site trees: nothing is left after the end", async () => {
  trees.keepReady([site]);
  await trees.close();
  expect((await readdir(directory)).toSorted()).toEqual(["site"]);
});
