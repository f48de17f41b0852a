import type { ScheduleStatus } from "@atoll/control-plane";
import { expect, test } from "vitest";
import { formatSchedules } from "./schedules.ts";

type Occurrence = ScheduleStatus["occurrences"][number];

function occurrence(part: Partial<Occurrence>): Occurrence {
  return {
    ...{ scheduledAt: "2026-11-20T12:00:00.000Z", state: "ended", attempts: 1, node: "fra" },
    ...{ outcome: "ok", wallMs: 12, endedAt: "2026-11-20T12:00:01.000Z", ...part },
  };
}

function rowsOf(text: string): ReadonlyArray<ReadonlyArray<string>> {
  const lines = text.split("\n").filter((line) => line.includes("│"));
  return lines.slice(1).map((line) =>
    line
      .split("│")
      .map((cell) => cell.trim())
      .slice(1, -1),
  );
}

test("schedules: a row for each occurrence, in words", () => {
  const schedule = { worker: "hello", cron: "*/5 * * * *", createdAt: "" };
  const nextAt = "2026-11-20T12:05:00.000Z";
  const occurrences = [
    occurrence({}),
    occurrence({ state: "pending", outcome: null, wallMs: null, node: null, attempts: 0 }),
    occurrence({ state: "pending", outcome: "exception" }),
    occurrence({ state: "claimed", outcome: null, wallMs: null }),
    occurrence({ state: "claimed", outcome: "nodeLost", wallMs: null, attempts: 2 }),
    occurrence({ state: "missed", outcome: null, wallMs: null, node: null, attempts: 0 }),
  ];
  const quiet = { ...schedule, worker: "quiet", nextAt, occurrences: [] };
  const rows = rowsOf(formatSchedules([{ ...schedule, nextAt, occurrences }, quiet]));
  const due = "2026-11-20 12:00";
  expect(rows).toEqual([
    ["hello", "*/5 * * * *", "2026-11-20 12:05", due, "ok", "1", "fra", "12 ms"],
    ["", "", "", due, "waiting", "0", "", ""],
    ["", "", "", due, "to be tried again after exception", "1", "fra", "12 ms"],
    ["", "", "", due, "running", "1", "fra", ""],
    ["", "", "", due, "running again after nodeLost", "2", "fra", ""],
    ["", "", "", due, "missed", "0", "", ""],
    ["quiet", "*/5 * * * *", "2026-11-20 12:05", "", "", "", "", ""],
  ]);
});

test("schedules: none is said", () => {
  expect(formatSchedules([])).toContain("No worker has a schedule");
});
