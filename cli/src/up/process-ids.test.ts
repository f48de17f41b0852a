import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeProcessIds } from "./process-ids.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "atoll-process-ids-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("process ids: parts that start at once leave a file that can be read, with all of them", async () => {
  const parts: { name: string; pid: number | undefined }[] = [
    { name: "control-plane", pid: 100_000 },
    { name: "iad", pid: undefined },
    { name: "fra", pid: undefined },
  ];
  // Each start makes the file longer, and the restart of a part with a short id makes it shorter again.
  await Promise.all(
    [100_001, 100_002, 7, 100_003, 8].map(async (pid, index) => {
      await Promise.resolve();
      parts[index % parts.length] = { name: parts[index % parts.length]?.name ?? "", pid };
      writeProcessIds(folder, parts);
    }),
  );
  const ids: unknown = JSON.parse(await readFile(join(folder, "processes.json"), "utf8"));
  expect(ids).toEqual({ "control-plane": 100_003, iad: 8, fra: 7 });
  expect(await readdir(folder)).toEqual(["processes.json"]);
});
