import { expect, test } from "vitest";
import { readableLine } from "./log-files.ts";

test("log lines: people see warnings with their cause, and plain lines as they are", () => {
  expect(readableLine('{"level":30,"msg":"node connected"}')).toBeUndefined();
  expect(readableLine('{"level":50,"msg":"it failed","err":{"message":"disk full"}}')).toBe(
    "error: it failed: disk full",
  );
  expect(readableLine('{"level":40,"msg":"cut","reason":"silent"}')).toBe("warning: cut: silent");
  expect(readableLine("    at stack.ts:1:2")).toBe("    at stack.ts:1:2");
  expect(readableLine("")).toBeUndefined();
});
