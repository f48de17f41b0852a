import { beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { type LimitBreach, processMemoryBytes } from "./cell-limits.ts";
import { CellSample } from "./cell-sample.ts";
import { CellSampler } from "./cell-sampler.ts";
import { CellWatchdog, type WatchedCell } from "./cell-watchdog.ts";
import { ManualClock } from "@atoll/kv-store/manual-clock";

const MEMORY_BYTES = 128 * 1024 * 1024;
const LIMIT_MS = 1_000;
const SAMPLE_TICKS = LIMITS.watchdogSampleMs / LIMITS.watchdogMs;

let clock: ManualClock;
let watchdog: CellWatchdog;
let sampler: CellSampler;
let cells: Set<ScriptedCell>;

beforeEach(() => {
  clock = new ManualClock();
  cells = new Set();
  const totalNs = (): number => [...cells].reduce((sum, { usedMs }) => sum + usedMs * 1e6, 0);
  sampler = new CellSampler({ clock, totalNs });
  watchdog = new CellWatchdog({ clock, sampler });
});

/** A cell whose use of the machine a test decides. */
class ScriptedCell implements WatchedCell {
  readonly limits = { cpuMs: LIMIT_MS, memoryBytes: MEMORY_BYTES };
  readonly isMemoryLimited = false;
  readonly breaches: LimitBreach[] = [];
  readonly sample: CellSample;
  usedMs = 0;
  bytes = 0;
  reads = 0;
  probes = 0;
  isDeaf = false;

  constructor() {
    this.sample = new CellSample({
      times: () => {
        this.reads += 1;
        return { ranNs: this.usedMs * 1e6, waitedNs: 0 };
      },
      memoryBytes: () => this.bytes,
    });
  }
  readonly probe = (): Promise<void> => {
    this.probes += 1;
    return this.isDeaf ? new Promise(() => undefined) : Promise.resolve();
  };
  readonly end = (breach: LimitBreach): void => {
    this.breaches.push(breach);
  };
}

function watch(cell: ScriptedCell): () => void {
  cells.add(cell);
  sampler.follow(cell.sample);
  return watchdog.watch(cell);
}

/** Lets a number of ticks pass, in each of which the cell uses so much time. */
async function pass(cell: ScriptedCell, ticks: number, usedMs: number): Promise<void> {
  for (let tick = 0; tick < ticks; tick += 1) {
    cell.usedMs += usedMs;
    clock.advance(LIMITS.watchdogMs);
    // Answers of probes arrive between ticks.
    await Promise.resolve();
    await Promise.resolve();
  }
}

/** Has the cell deaf, with a probe on its way. */
async function startTurn(cell: ScriptedCell): Promise<void> {
  cell.isDeaf = true;
  cell.usedMs += LIMITS.watchdogProbeCpuMs;
  await pass(cell, 1, 0);
  expect(cell.probes).toBe(1);
}

test.each([
  { used: LIMIT_MS - 1, breaches: [] },
  { used: LIMIT_MS, breaches: ["exceededCpu"] },
  { used: LIMIT_MS + 1, breaches: ["exceededCpu"] },
])("watchdog: a turn of $used ms under a limit of 1,000", async ({ used, breaches }) => {
  const cell = new ScriptedCell();
  watch(cell);
  await startTurn(cell);
  await pass(cell, 1, used);
  expect(cell.breaches).toEqual(breaches);
});

test.each([
  { above: -1, breaches: [] },
  { above: 0, breaches: [] },
  { above: 1, breaches: ["exceededMemory"] },
])("watchdog: memory of the limit and $above bytes", async ({ above, breaches }) => {
  const cell = new ScriptedCell();
  watch(cell);
  cell.bytes = processMemoryBytes(cell.limits) + above;
  await pass(cell, 1, LIMITS.watchdogMs);
  expect(cell.breaches).toEqual(breaches);
});

test("watchdog: a cell that works without a pause but answers is left alone", async () => {
  const cell = new ScriptedCell();
  watch(cell);
  await pass(cell, 1_000, LIMITS.watchdogMs);
  expect(cell.breaches).toEqual([]);
  // It is asked now and then, not at each look.
  expect(cell.probes).toBeGreaterThan(100);
  expect(cell.probes).toBeLessThan(500);
});

test("watchdog: a cell that hardly gets time has as much of it as any other", async () => {
  const cell = new ScriptedCell();
  watch(cell);
  await startTurn(cell);
  await pass(cell, LIMIT_MS - 1, 1);
  expect(cell.breaches).toEqual([]);
  await pass(cell, 1, 1);
  expect(cell.breaches).toEqual(["exceededCpu"]);
});

test("watchdog: a loop in a cell that was idle ends within the limit and a second", async () => {
  const cell = new ScriptedCell();
  watch(cell);
  await pass(cell, 50, 0);
  cell.isDeaf = true;
  let ticks = 0;
  while (cell.breaches.length === 0) {
    await pass(cell, 1, LIMITS.watchdogMs);
    ticks += 1;
  }
  expect(ticks * LIMITS.watchdogMs).toBeLessThanOrEqual(LIMIT_MS + 1_000);
});

test("watchdog: cells that do nothing are not read, the one that begins to work is", async () => {
  const idle = Array.from({ length: 50 }, () => new ScriptedCell());
  const busy = new ScriptedCell();
  for (const cell of [...idle, busy]) watch(cell);
  await pass(busy, SAMPLE_TICKS, 0);
  const reads = (): number => idle.reduce((sum, cell) => sum + cell.reads, busy.reads);
  const before = reads();
  await pass(busy, 1_000, 0);
  expect(reads()).toBe(before);
  // Found with the next sample, from then on it is read at each tick, and others only when all are.
  await pass(busy, SAMPLE_TICKS, LIMITS.watchdogMs);
  expect(busy.reads).toBeGreaterThan(0);
  const found = { busy: busy.reads, idle: idle[0]?.reads ?? 0 };
  await pass(busy, 10 * SAMPLE_TICKS, LIMITS.watchdogMs);
  expect(busy.reads - found.busy).toBeGreaterThanOrEqual(10 * SAMPLE_TICKS);
  expect((idle[0]?.reads ?? 0) - found.idle).toBe(10);
});

test("watchdog: work after a long rest counts against the time since the latest sample", async () => {
  const cell = new ScriptedCell();
  watch(cell);
  await pass(cell, 10_000, 0);
  cell.isDeaf = true;
  await pass(cell, SAMPLE_TICKS, LIMITS.watchdogMs);
  expect(cell.probes).toBe(1);
});

test("watchdog: without cells there is no timer", () => {
  expect(clock.timerCount).toBe(0);
  const stops = [watch(new ScriptedCell()), watch(new ScriptedCell())];
  expect(clock.timerCount).toBe(1);
  for (const stop of stops) stop();
  expect(clock.timerCount).toBe(0);
});
