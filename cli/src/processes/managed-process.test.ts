import { afterEach, expect, test } from "vitest";
import { ManagedProcess } from "./managed-process.ts";

const { execPath } = process;
afterEach(() => {
  process.execPath = execPath;
});

test("a part of atoll up that can't be started again for now is started when it can be", async () => {
  const endings: string[] = [];
  const part = new ManagedProcess({
    name: "part",
    // It ends at once, and so it is started again and again.
    arguments: ["--version"],
    onLine: () => undefined,
    onStart: () => undefined,
    onCrash: (ending) => endings.push(ending),
  });
  process.execPath = "/nowhere/node";
  await expect(part.start()).rejects.toThrow(/part ended with .*ENOENT/);
  expect(endings).toHaveLength(1);
  process.execPath = execPath;
  await expect.poll(() => endings, { timeout: 10_000 }).toContain("exit code 0");
  await part.stop();
});
