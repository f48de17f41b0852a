import { beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { type LimitBreach, processMemoryBytes } from "./cell-limits.ts";
import { CellWatchdog, type WatchedCell } from "./cell-watchdog.ts";
import { ManualClock } from "./manual-clock.ts";

const MEMORY_BYTES = 128 * 1024 * 1024;
const LIMIT_MS = 1_000;

let clock: ManualClock;
let isMachineBusy: boolean;
let watchdog: CellWatchdog;

beforeEach(() => {
  clock = new ManualClock();
  isMachineBusy = true;
  watchdog = new CellWatchdog({ clock, isMachineBusy: () => isMachineBusy });
});

/** A cell whose use of the machine a test decides. */
class ScriptedCell implements WatchedCell {
  readonly limits = { cpuMs: LIMIT_MS, memoryBytes: MEMORY_BYTES };
  readonly breaches: LimitBreach[] = [];
  usedMs = 0;
  bytes = 0;
  looks = 0;
  probes = 0;
  isDeaf = false;

  cpuNs(): number {
    this.looks += 1;
    return this.usedMs * 1e6;
  }
  memoryBytes = (): number => this.bytes;
  probe(): Promise<void> {
    this.probes += 1;
    return this.isDeaf ? new Promise(() => undefined) : Promise.resolve();
  }
  end(breach: LimitBreach): void {
    this.breaches.push(breach);
  }
}

function watch(cell: ScriptedCell): () => void {
  return watchdog.watch({
    limits: cell.limits,
    cpuNs: () => cell.cpuNs(),
    memoryBytes: cell.memoryBytes,
    probe: () => cell.probe(),
    end: (breach) => cell.end(breach),
  });
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

test("watchdog: idle cells are looked at rarely, and hardly at all where nothing runs", async () => {
  const cell = new ScriptedCell();
  watch(cell);
  await pass(cell, 10, 0);
  cell.looks = 0;
  await pass(cell, 100, 0);
  expect(cell.looks).toBe(100 / LIMITS.watchdogSweepTicks);
  isMachineBusy = false;
  cell.looks = 0;
  await pass(cell, 100, 0);
  expect(cell.looks).toBe(100 / LIMITS.watchdogSureSweepTicks);
});

test("watchdog: without cells there is no timer", () => {
  expect(clock.timerCount).toBe(0);
  const stops = [watch(new ScriptedCell()), watch(new ScriptedCell())];
  expect(clock.timerCount).toBe(1);
  for (const stop of stops) stop();
  expect(clock.timerCount).toBe(0);
});
