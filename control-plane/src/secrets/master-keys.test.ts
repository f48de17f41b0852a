import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { MasterKeys } from "./master-keys.ts";

let directory: string;
let file: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-master-keys-"));
  file = join(directory, "master.key");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const fromFile = () => MasterKeys.load({ file, fromEnvironment: undefined });

test("master keys: one is made once, for its owner only, and found again", async () => {
  const made = await fromFile();
  expect(made.current.bytes).toHaveLength(32);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await fromFile()).all).toEqual(made.all);
  expect(await readFile(file, "utf8")).not.toContain(made.current.id);
});

test("master keys: of many first starts at once all find the same", async () => {
  const all = await Promise.all(Array.from({ length: 50 }, fromFile));
  expect(new Set(all.map(({ current }) => current.id)).size).toBe(1);
  expect(await readdir(directory)).toEqual(["master.key"]);
});

test("master keys: those of the environment are used, the first seals, and none is written down", async () => {
  const [first, second] = ["ab".repeat(32), "CD".repeat(32)];
  const keys = await MasterKeys.load({ file, fromEnvironment: `${first}, ${second}` });
  expect(keys.all.map(({ bytes }) => Buffer.from(bytes).toString("hex"))).toEqual([
    first,
    second.toLowerCase(),
  ]);
  expect(keys.isFile).toBe(false);
  await expect(keys.addKey()).rejects.toThrow(/environment/);
  await expect(stat(file)).rejects.toMatchObject({ code: "ENOENT" });
});

test("master keys: a change of the file is seen by whoever has it open", async () => {
  const [here, there] = [await fromFile(), await fromFile()];
  const first = here.current;
  await there.addKey();
  expect(here.current.id).toBe(there.current.id);
  expect(here.find(first.id)).toEqual(first);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  await there.keepOnly([there.current.id]);
  expect(here.find(first.id)).toBeUndefined();
});

test("master keys: what an interrupted change left beside the file does no harm", async () => {
  const keys = await fromFile();
  await writeFile(`${file}.new`, "half a k");
  await keys.addKey();
  expect((await fromFile()).all).toHaveLength(2);
});

test("master keys: malformed ones are refused by the name of their source, and never replaced", async () => {
  const good = "ab".repeat(32);
  const many = Array.from({ length: LIMITS.masterKeysMax + 1 }, () => good).join(",");
  for (const text of ["", "ab".repeat(31), "ab".repeat(33), "zz".repeat(32), `${good},`, many]) {
    const loading = MasterKeys.load({ file, fromEnvironment: text });
    await expect(loading, text).rejects.toThrow(/ATOLL_MASTER_KEY/);
  }
  await writeFile(file, "cut");
  await expect(fromFile()).rejects.toThrow(file);
  expect(await readFile(file, "utf8")).toBe("cut");
});
