import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { takeFileLock } from "./file-lock.ts";

test("file lock: one holds it, and another one once it is given back", async () => {
  const folder = await mkdtemp(join(tmpdir(), "atoll-lock-"));
  const path = join(folder, "some.lock");
  const held = takeFileLock(path);
  expect(held).toBeDefined();
  expect(takeFileLock(path)).toBeUndefined();
  held?.close();
  held?.close();
  const again = takeFileLock(path);
  expect(again).toBeDefined();
  again?.close();
  expect(() => takeFileLock(join(folder, "none", "some.lock"))).toThrow();
  await rm(folder, { recursive: true });
});
