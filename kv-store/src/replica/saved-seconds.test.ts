import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SavedSeconds } from "./saved-seconds.ts";

let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-seconds-"));
  path = join(directory, "seconds");
});
afterEach(() => rm(directory, { recursive: true }));

function readAnew(): number | undefined {
  const file = new SavedSeconds(path);
  const seconds = file.read();
  file.close();
  return seconds;
}

test("SavedSeconds: has what was written last, also for the next one who opens it", () => {
  expect(readAnew()).toBeUndefined();
  const file = new SavedSeconds(path);
  for (const seconds of [1_900_000_000, 253_402_300_799, 7]) {
    file.write(seconds);
    expect([file.read(), readAnew()]).toEqual([seconds, seconds]);
  }
  file.close();
});

test.each(["", "19", "-00000000001", "00000000000\0"])(
  "SavedSeconds: %j is no number",
  async (content) => {
    await writeFile(path, content);
    expect(readAnew()).toBeUndefined();
  },
);
