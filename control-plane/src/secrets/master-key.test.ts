import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadMasterKey } from "./master-key.ts";

let directory: string;
let file: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-master-key-"));
  file = join(directory, "master.key");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test("master key: made once, for its owner only, and found again", async () => {
  const made = await loadMasterKey({ file, fromEnvironment: undefined });
  expect(made.length).toBe(32);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const found = await loadMasterKey({ file, fromEnvironment: undefined });
  expect(Buffer.from(found)).toEqual(Buffer.from(made));
});

test("master key: one from the environment is used and not written down", async () => {
  const text = "ab".repeat(32);
  const key = await loadMasterKey({ file, fromEnvironment: text });
  expect(Buffer.from(key).toString("hex")).toBe(text);
  await expect(stat(file)).rejects.toMatchObject({ code: "ENOENT" });
});

test("master key: a malformed one is refused by the name of its source, and never replaced", async () => {
  for (const text of ["", "ab".repeat(31), "ab".repeat(33), "zz".repeat(32)]) {
    await expect(loadMasterKey({ file, fromEnvironment: text })).rejects.toThrow(
      /ATOLL_MASTER_KEY/,
    );
  }
  await writeFile(file, "cut");
  await expect(loadMasterKey({ file, fromEnvironment: undefined })).rejects.toThrow(file);
  expect(await readFile(file, "utf8")).toBe("cut");
});
