import { expect, test } from "vitest";
import { startFailure } from "./start-failure.ts";

function written(...messages: ReadonlyArray<string>): string {
  const lines = messages.map((message) => JSON.stringify({ level: "error", message }));
  return lines.join("\n");
}

function failure(stderrTail: string, signal: NodeJS.Signals | null = null): string {
  const code = signal === null ? 1 : null;
  const usage = { cpuNs: 0, memoryPeakBytes: 0 };
  return startFailure({ code, signal, stderrTail, usage }, "worker.js");
}

test("start failure: our service names are taken off, frames stay", () => {
  const tail = written(
    "service w0-code: Uncaught Error: boom\n  at index.js:1:2 in f\n  at index.js:3",
  );
  expect(failure(tail)).toBe("Uncaught Error: boom\n  at index.js:1:2 in f\n  at index.js:3");
});

test("start failure: frames of a script without a name get one", () => {
  expect(failure(written("service w0: Uncaught Error: boom\n  at w0:1:7"))).toBe(
    "Uncaught Error: boom\n  at worker.js:1:7",
  );
});

test("start failure: a date that the runtime does not know yet is told with the newest that it does", () => {
  const tail = written(
    'service w0: This Worker requires compatibility date "2026-11-28", but the newest date supported by this server binary is "2026-11-24".',
  );
  expect(failure(tail)).toBe(
    'This Worker requires compatibility date "2026-11-28", but the newest date that this Atoll runs is "2026-11-24". Choose that date or an older one.',
  );
});

test("start failure: native stacks and repetitions are left out", () => {
  const message = "service w0: broken\nstack: /somewhere/workerd@123 /somewhere/workerd@456";
  expect(failure(written(message, message))).toBe("broken");
});

test("start failure: what is no error of workerd is ignored, and a bare end is told by its signal", () => {
  const tail = `cut off"}\nplain text\n{"level":"log","message":"hello"}\n{"other":1}\n`;
  expect(failure(tail, "SIGABRT")).toMatch(/^The script ended its process \(SIGABRT\)/);
  expect(failure("")).toMatch(/\(status 1\)/);
});
