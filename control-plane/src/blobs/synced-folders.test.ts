import { mkdir, mkdtemp, readdir, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SyncedFolders } from "./synced-folders.ts";

let directory: string;
let folders: SyncedFolders;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-folders-"));
  folders = new SyncedFolders();
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** How often this process has a path open. */
async function timesOpen(path: string): Promise<number> {
  const descriptors = await readdir("/proc/self/fd");
  const targets = await Promise.all(
    descriptors.map((descriptor) => readlink(`/proc/self/fd/${descriptor}`).catch(() => "gone")),
  );
  return targets.filter((target) => target === path).length;
}

describe("synced folders: ", () => {
  test("each is opened once while anybody is at work, and closed when nobody is", async () => {
    const gate = Promise.withResolvers<void>();
    const other = folders.during(async () => {
      await folders.sync(directory);
      await gate.promise;
    });
    await folders.during(async () => {
      await Promise.all([folders.sync(directory), folders.sync(directory)]);
    });
    expect(await timesOpen(directory)).toBe(1);
    gate.resolve();
    await other;
    expect(await timesOpen(directory)).toBe(0);
  });

  test("one that is not there is told, and is found once it is", async () => {
    const late = join(directory, "late");
    await folders.during(async () => {
      await expect(folders.sync(late)).rejects.toMatchObject({ code: "ENOENT" });
      await mkdir(late);
      await folders.sync(late);
      expect(await timesOpen(late)).toBe(1);
    });
  });

  test("after work that failed nothing is open", async () => {
    const failing = folders.during(async () => {
      await folders.sync(directory);
      throw new Error("boom");
    });
    await expect(failing).rejects.toThrow("boom");
    expect(await timesOpen(directory)).toBe(0);
  });
});
