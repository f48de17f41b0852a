import { Writable } from "node:stream";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sampleModule, type SampleWorker } from "../config/sample-version.ts";
import { LIMITS } from "../limits.ts";
import type { CellEnded, CellStarted } from "./cell-events.ts";
import { SampleSupervisor } from "./sample-supervisor.ts";

let sample: SampleSupervisor;
let started: CellStarted[];
let ended: CellEnded[];
let lines: Array<{ reason?: string; msg: string; workers?: string[]; level: number }>;

beforeEach(async () => {
  started = [];
  ended = [];
  lines = [];
  const destination = new Writable({
    write: (line: Buffer, _, done) => {
      lines.push(JSON.parse(line.toString()));
      done();
    },
  });
  sample = await SampleSupervisor.open({
    log: pino(destination),
    listeners: [
      {
        cellStarted: (event) => started.push(event),
        cellEnded: (event) => ended.push(event),
      },
    ],
  });
});

afterEach(() => sample.close());

const SOURCE = `export default { fetch(request) {
  const kept = [];
  const { pathname } = new URL(request.url);
  if (pathname === "/loop") for (;;) {}
  if (pathname === "/grow") for (;;) kept.push(new Uint8Array(1_000_000).fill(1));
  return new Response("served");
} };`;

function worker(source = SOURCE, cpuMs?: number): SampleWorker {
  const unlimited = sampleModule(source, { name: "doomed" });
  if (cpuMs === undefined) return unlimited;
  return { ...unlimited, version: { ...unlimited.version, limits: { cpuMs } } };
}

async function ask(path: string): Promise<number> {
  return (await sample.ask("doomed", path)).status;
}

/** Waits until the latest end is for this reason, and everybody has heard of each end once. */
async function expectEnd(reason: string, count = 1): Promise<void> {
  await waitFor(() => expect(ended.map((end) => end.reason)).toContain(reason));
  expect(ended.filter((end) => end.reason === reason)).toHaveLength(count);
  expect(lines.filter((line) => line.reason === reason)).toHaveLength(count);
  expect(sample.supervisor.ends.cellEnds[reason]).toBe(count);
  for (const { members } of ended) expect(members.map(({ name }) => name)).toEqual(["doomed"]);
}

test("cell ends: what exceeds a limit is told of to log, status and listeners, once", async () => {
  await sample.run(worker());
  expect(await ask("/loop")).toBe(503);
  await expectEnd("exceededCpu");
  // However slowly the machine fills its memory, the turn isn't what ends this one.
  await sample.run(worker(SOURCE, LIMITS.turnCpuMsMax));
  expect(await ask("/grow")).toBe(503);
  await expectEnd("exceededMemory");
  expect(sample.supervisor.ends.cellFaults.map(({ workers, reason }) => [workers, reason])).toEqual(
    [
      [["doomed"], "exceededCpu"],
      [["doomed"], "exceededMemory"],
    ],
  );
});

test("cell ends: a cell that exceeds a limit while it drains was ended for the limit", async () => {
  const [before, after] = [worker(), worker()];
  await sample.run(before);
  expect(await ask("/")).toBe(200);
  const { socketPath } = await sample.supervisor.activate(before.key);
  const looping = ask("/loop");
  await waitFor(async () => expect((await sample.ingress.requestsOf(socketPath)).inFlight).toBe(1));
  await sample.run(after);
  expect(await looping).toBe(503);
  await expectEnd("exceededCpu");
  expect(sample.supervisor.ends.cellEnds).toEqual({ exceededCpu: 1 });
});

test.each([
  { signal: "SIGKILL", reason: "killed" },
  { signal: "SIGSEGV", reason: "crashed" },
] as const)("cell ends: of one that $signal ends, the reason is $reason", async (expected) => {
  await sample.run(worker());
  expect(await ask("/")).toBe(200);
  process.kill(started[0]?.pid ?? 0, expected.signal);
  await expectEnd(expected.reason);
  expect(lines.find(({ reason }) => reason === expected.reason)?.level).toBe(
    pino.levels.values["error"],
  );
});

test("cell ends: a start that fails is one, whoever asked for it", async () => {
  await sample.run(worker(`throw new Error("never");`));
  expect(await ask("/")).toBe(502);
  await expectEnd("startFailed");
  expect(started).toEqual([]);
  expect(ended[0]?.exit.stderrTail).toContain("never");
});

test("cell ends: what the node stops says why, and is no fault", async () => {
  await sample.run(worker());
  expect(await ask("/")).toBe(200);
  await sample.run(worker());
  await expectEnd("replaced");
  expect(await ask("/")).toBe(200);
  await sample.run();
  await expectEnd("removed");
  await sample.run(worker());
  expect(await ask("/")).toBe(200);
  await sample.supervisor.dispose();
  await expectEnd("stopped");
  expect(sample.supervisor.ends.cellFaults).toEqual([]);
  expect(started).toHaveLength(ended.length);
});
