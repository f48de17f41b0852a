import { spawn } from "node:child_process";
import { once } from "node:events";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { expect, onTestFinished, test } from "vitest";
import { ControlGroups } from "../sandbox/control-groups.ts";
import { findHierarchies } from "../sandbox/cgroup-hierarchies.ts";
import { CellSample } from "./cell-sample.ts";
import { CellSampler } from "./cell-sampler.ts";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { ProcessCounters } from "./process-table.ts";

const { hierarchies } = await findHierarchies();
const isWritable = hierarchies.length > 0 && process.getuid?.() === 0;

const PROGRAM = `$| = 1; print "ready"; while (<STDIN>) { $x += 1 for 1 .. 1e5 }`;

/** A process that works for some milliseconds for each line that it gets, and counts how often it is read. */
class CountedProcess {
  readonly child = spawn("/usr/bin/perl", ["-e", PROGRAM], { stdio: ["pipe", "pipe", "inherit"] });
  readonly pid = this.child.pid ?? 0;
  readonly #counters = new ProcessCounters(this.pid);
  readonly sample = new CellSample({
    times: () => {
      this.reads += 1;
      return this.#counters.times();
    },
    memoryBytes: () => {
      this.memoryReads += 1;
      return this.#counters.memoryBytes();
    },
  });
  reads = 0;
  memoryReads = 0;

  work(): void {
    this.child.stdin.write("go\n");
  }

  async kill(): Promise<void> {
    const exited = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await exited;
  }

  close(): void {
    this.#counters.close();
  }
}

/** Processes in groups of an owner's, all at rest, and what samples them. */
async function open(count: number): Promise<{
  readonly processes: ReadonlyArray<CountedProcess>;
  readonly sampler: CellSampler;
  readonly clock: ManualClock;
}> {
  const { groups } = await ControlGroups.open({ owner: "test of sampling", cores: 2 });
  const processes = Array.from({ length: count }, () => new CountedProcess());
  onTestFinished(async () => {
    await Promise.all(processes.map((each) => each.kill()));
    for (const each of processes) each.close();
    await groups.clear();
    await groups.close();
  });
  for (const [index, { child, pid }] of processes.entries()) {
    await once(child.stdout, "data");
    await groups.add(`cell-${index}`, pid);
    await groups.assign(`cell-${index}`, { pid, account: "account", memoryBytes: 1e9 });
  }
  const clock = new ManualClock();
  const sampler = new CellSampler({ clock, totalNs: () => groups.cpuNs() });
  for (const { sample } of processes) sampler.follow(sample);
  let before = -1;
  await waitFor(() => {
    const now = groups.cpuNs() ?? 0;
    const isAtRest = now === before;
    before = now;
    expect(isAtRest).toBe(true);
  });
  sampler.sample();
  return { processes, sampler, clock };
}

test.runIf(isWritable)(
  "sampler: none of many that rest is read, and what is known stays true",
  async () => {
    const { processes, sampler, clock } = await open(20);
    const reads = (): ReadonlyArray<number> => processes.map((each) => each.reads);
    const before = reads();
    for (let round = 0; round < 100; round += 1) {
      clock.advance(500);
      sampler.sample();
    }
    expect(reads()).toEqual(before);
    expect(new Set(processes.map(({ sample }) => sample.asOfMs))).toEqual(
      new Set([clock.monotonicMs()]),
    );
  },
);

test.runIf(isWritable)("sampler: the only one of many that runs is found", async () => {
  const { processes, sampler } = await open(20);
  const before = processes.map(({ sample }) => sample.times.ranNs);
  processes[7]?.work();
  await waitFor(() => {
    sampler.sample();
    const moved = processes.flatMap(({ sample }, index) =>
      sample.times.ranNs === before[index] ? [] : [index],
    );
    expect(moved).toEqual([7]);
  });
});

test.runIf(isWritable)(
  "sampler: memory is read again when a process has run, and only then",
  async () => {
    const { processes, sampler } = await open(2);
    const bytes = processes.map(({ sample }) => sample.memoryBytes);
    sampler.sample();
    expect(processes.map(({ sample }) => sample.memoryBytes)).toEqual(bytes);
    expect(processes.map(({ memoryReads }) => memoryReads)).toEqual([1, 1]);
    const [worker] = processes;
    worker?.work();
    await waitFor(() => {
      sampler.sample();
      expect(processes.map(({ sample }) => sample.memoryBytes)).toHaveLength(2);
      expect(worker?.memoryReads).toBeGreaterThan(1);
    });
    expect(processes[1]?.memoryReads).toBe(1);
  },
);

test("sampler: where nobody counts for all together, each is read every time", async () => {
  const resting = new CountedProcess();
  onTestFinished(async () => {
    await resting.kill();
    resting.close();
  });
  const sampler = new CellSampler({ clock: new ManualClock(), totalNs: () => undefined });
  const release = sampler.follow(resting.sample);
  for (let round = 0; round < 3; round += 1) sampler.sample();
  expect(resting.reads).toBe(4);
  release();
  sampler.sample();
  expect(resting.reads).toBe(4);
});

test("sampler: of a process that is gone stays what was known", async () => {
  const short = new CountedProcess();
  const sampler = new CellSampler({ clock: new ManualClock(), totalNs: () => undefined });
  sampler.follow(short.sample);
  await waitFor(() => {
    sampler.sample();
    expect(short.sample.memoryBytes).toBeGreaterThan(0);
  });
  const known = { times: short.sample.times, memoryBytes: short.sample.memoryBytes };
  await short.kill();
  sampler.sample();
  expect({ times: short.sample.times, memoryBytes: short.sample.memoryBytes }).toEqual(known);
  short.close();
});
