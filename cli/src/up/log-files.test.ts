import { mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { LogFiles, readableLine } from "./log-files.ts";

// For hangs, not for speed.
const PATIENTLY = { timeout: 30_000 };

test("log lines: people see warnings with their cause, and plain lines as they are", () => {
  expect(readableLine('{"level":30,"msg":"node connected"}')).toBeUndefined();
  expect(readableLine('{"level":50,"msg":"it failed","err":{"message":"disk full"}}')).toBe(
    "error: it failed: disk full",
  );
  expect(readableLine('{"level":40,"msg":"cut","reason":"silent"}')).toBe("warning: cut: silent");
  expect(readableLine("    at stack.ts:1:2")).toBe("    at stack.ts:1:2");
  expect(readableLine("")).toBeUndefined();
});

test("log files: a disk that takes nothing is said once, and lines are kept again when it does", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-logs-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  const file = join(directory, "fra.log");
  await symlink("/dev/full", file);
  const shown: string[] = [];
  const logs = await LogFiles.open(directory, (text) => shown.push(text));
  logs.write("fra", '{"level":30,"msg":"one"}');
  await vi.waitFor(() => expect(shown).toHaveLength(1), PATIENTLY);
  expect(shown[0]).toMatch(/^fra +warning: its log can't be written: ENOSPC/);
  logs.write("fra", '{"level":40,"msg":"two"}');
  await rm(file);
  await vi.waitFor(async () => {
    logs.write("fra", '{"level":30,"msg":"three"}');
    expect(await readFile(file, "utf8")).toContain('"three"');
  }, PATIENTLY);
  logs.close();
  expect(shown).toEqual([shown[0], "fra           warning: two"]);
});
