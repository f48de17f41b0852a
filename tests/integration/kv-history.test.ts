import { afterAll, beforeAll, expect, test } from "vitest";
import { runHistory } from "../kv-history/history-run.ts";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";

// A bounded run: `npm run kv-history -- --operations 1000000 --kills 40` is a long one.
const OPERATIONS = 10_000;
// Each of the four processes once.
const KILLS = 4;
const SEED = 4;

let atoll: TestAtoll;

beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

test("KV: nothing that clients are told breaks a promise, while each process is killed under them", async () => {
  const report = await runHistory({ atoll, operations: OPERATIONS, kills: KILLS, seed: SEED });
  expect(report.anomalies).toEqual([]);
  expect(report.kills).toEqual({ "control-plane": 1, iad: 1, fra: 1, nrt: 1 });
  expect(report.operations).toBeGreaterThanOrEqual(OPERATIONS);
  expect(report.acknowledged).toBeGreaterThan(OPERATIONS / 20);
});
