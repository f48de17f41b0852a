import { beforeEach, expect, test } from "vitest";
import { LIMITS } from "../../limits.ts";
import { FailureLog } from "./failure-log.ts";

let nowMs: number;
let lines: unknown[];
let failures: FailureLog;

beforeEach(() => {
  nowMs = 1_000_000;
  lines = [];
  const warn = (fields: object, message: string): void => {
    lines.push({ ...fields, message });
  };
  failures = new FailureLog({ warn }, () => nowMs);
});

function fail(
  worker: string,
  ray: string,
  code: "cpu_exceeded" | "cell_lost" = "cpu_exceeded",
): void {
  failures.note({ code, worker, ray });
}

function told(worker: string, ray: string, code = "cpu_exceeded"): unknown {
  return { code, worker, ray, err: undefined, message: "request failed" };
}

test("failure log: of a thousand that fail alike one is told, and how many followed", () => {
  for (let count = 0; count < 1_000; count += 1) fail("a/loop", `${count}`);
  nowMs += LIMITS.failureLogMs - 1;
  fail("a/loop", "late");
  expect(lines).toEqual([told("a/loop", "0")]);
  nowMs += 1;
  fail("a/loop", "next");
  expect(lines.slice(1)).toEqual([
    { code: "cpu_exceeded", worker: "a/loop", requests: 1_000, message: "further requests failed" },
    told("a/loop", "next"),
  ]);
});

test("failure log: another worker and another reason are told by themselves", () => {
  fail("a/loop", "1");
  fail("b/loop", "2");
  fail("a/loop", "3", "cell_lost");
  expect(lines).toEqual([
    told("a/loop", "1"),
    told("b/loop", "2"),
    told("a/loop", "3", "cell_lost"),
  ]);
});

test("failure log: what is left is told at the end, once", () => {
  for (const ray of ["1", "2"]) fail("a/loop", ray);
  failures.flush();
  failures.flush();
  expect(lines.slice(1)).toEqual([
    { code: "cpu_exceeded", worker: "a/loop", requests: 1, message: "further requests failed" },
  ]);
});
