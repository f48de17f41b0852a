import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { Pool } from "undici";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sampleModule, type SampleWorker } from "../config/sample-version.ts";
import { LIMITS } from "../limits.ts";
import { limitsOf, subrequestsOf } from "./cell-limits.ts";
import { type SampleAnswer, SampleSupervisor } from "./sample-supervisor.ts";

let sample: SampleSupervisor;

beforeEach(async () => {
  sample = await SampleSupervisor.open();
});

afterEach(() => sample.close());

// What a cell may have besides, which these tests fill with what is kept.
const GARBAGE_MB = LIMITS.cellGarbageBytes / 1024 / 1024;

/** Runs a worker that burns processor time, takes memory or answers, as its path says. */
const SOURCE = `
  let calls = 0;
  const kept = [];
  export default { async fetch(request) {
    const [, what, amount] = new URL(request.url).pathname.split("/");
    calls += 1;
    if (what === "loop") for (;;) {}
    if (what === "burn") { const end = performance.timeOrigin; burn(Number(amount)); }
    if (what === "grow") for (;;) kept.push(new Uint8Array(1_000_000).fill(1));
    if (what === "keep") for (let i = 0; i < Number(amount); i += 1) kept.push(new Uint8Array(1_000_000).fill(1));
    return new Response(String(calls));
  } };
  function burn(rounds) { let sum = 0; for (let i = 0; i < rounds * 1e6; i += 1) sum += i % 7; return sum; }
`;

function worker(name: string, cpuMs?: number): SampleWorker {
  const unlimited = sampleModule(SOURCE, { name });
  if (cpuMs === undefined) return unlimited;
  return { ...unlimited, version: { ...unlimited.version, limits: { cpuMs } } };
}

// However slowly a machine fills its memory, the turn isn't what ends it.
const LONGEST_TURN_MS = LIMITS.turnCpuMsMax;

function cpuMs(): number {
  return sample.supervisor.status()[0]?.cpuMs ?? 0;
}

function ask(name: string, path: string): Promise<SampleAnswer> {
  return sample.ask(name, path);
}

test("limits: a loop is ended, its request gets the page, the worker and its neighbour serve on", async () => {
  await sample.run(worker("looper", 300), worker("neighbour"));
  await Promise.all([ask("looper", "/"), ask("neighbour", "/")]);
  const looping = ask("looper", "/loop");
  const answer = await looping;
  expect(answer).toMatchObject({ status: 503, code: "cpu_exceeded" });
  expect(answer.body).toContain("error code: 1102");
  // A fresh isolate: the count of its calls starts anew.
  expect(await ask("looper", "/")).toMatchObject({ status: 200, body: "1" });
  expect(await ask("neighbour", "/")).toMatchObject({ status: 200, body: "2" });
  expect(sample.supervisor.ends.cellFaults).toMatchObject([
    { workers: ["looper"], reason: "exceededCpu" },
  ]);
});

test("limits: a request that waits behind a loop is answered by the next cell", async () => {
  await sample.run(worker("looper"));
  await ask("looper", "/");
  const beforeMs = cpuMs();
  const looping = ask("looper", "/loop");
  // By then it loops: a request that the cell has read before is lost with it.
  await waitFor(() => expect(cpuMs()).toBeGreaterThan(beforeMs + 100));
  const waiting = ask("looper", "/");
  expect(await looping).toMatchObject({ status: 503 });
  expect(await waiting).toMatchObject({ status: 200 });
});

test("limits: who loops again and again rests with the reason, and heals", async () => {
  await sample.run(worker("looper", 50));
  let refusal: SampleAnswer | undefined;
  await waitFor(async () => {
    const begunMs = performance.now();
    refusal = await ask("looper", "/loop");
    expect(refusal).toMatchObject({ status: 503, code: "cpu_exceeded" });
    // Refused without a start: nothing could loop in this time.
    expect(performance.now() - begunMs).toBeLessThan(50);
  });
  await waitFor(async () =>
    expect(await ask("looper", "/")).toMatchObject({ status: 200, body: "1" }),
  );
}, 300_000);

test("limits: memory without end ends that cell alone, within its own limit", async () => {
  await sample.run(worker("grower", LONGEST_TURN_MS), worker("neighbour"));
  await Promise.all([ask("grower", "/"), ask("neighbour", "/")]);
  expect(await ask("grower", "/grow")).toMatchObject({ status: 503, code: "memory_exceeded" });
  expect(await ask("grower", "/")).toMatchObject({ status: 200, body: "1" });
  expect(await ask("neighbour", "/")).toMatchObject({ status: 200, body: "2" });
  expect(sample.supervisor.ends.cellFaults).toMatchObject([
    { workers: ["grower"], reason: "exceededMemory" },
  ]);
});

test("limits: what stays below the limit of memory is kept", async () => {
  await sample.run(worker("keeper", LONGEST_TURN_MS));
  expect(await ask("keeper", `/keep/${128 + GARBAGE_MB}`)).toMatchObject({ status: 200 });
  expect(await ask("keeper", "/keep/60")).toMatchObject({ status: 503, code: "memory_exceeded" });
});

test("limits: a worker that holds on to nothing is kept, however much it is asked", async () => {
  // The least that an account can grant, so that fewer requests would be too much.
  const settings = { cells: "per-worker", memoryMib: 64 } as const;
  await sample.run({ ...worker("busy"), settings });
  const pid = (): number | undefined => sample.supervisor.status()[0]?.pid;
  await ask("busy", "/");
  const before = pid();
  const pool = new Pool(sample.ingress.url, { connections: 16 });
  const headers = { host: "busy.localhost" };
  // What workerd keeps of them would be more than the worker may take.
  const requests = process.env["ATOLL_THOROUGH"] === undefined ? 32_000 : 80_000;
  for (let count = 0; count < requests; count += 16) {
    const answers = Array.from({ length: 16 }, async () => {
      const { statusCode, body } = await pool.request({ path: "/", method: "GET", headers });
      await body.dump();
      return statusCode;
    });
    expect(new Set(await Promise.all(answers))).toEqual(new Set([200]));
  }
  await pool.close();
  expect(pid()).toBe(before);
}, 300_000);

test("limits: memory is what the account grants, and follows a change of it", async () => {
  const keeper = {
    ...worker("keeper", LONGEST_TURN_MS),
    settings: { cells: "per-worker", memoryMib: 64 },
  } as const;
  await sample.run(keeper);
  expect(await ask("keeper", `/keep/${100 + GARBAGE_MB}`)).toMatchObject({
    code: "memory_exceeded",
  });
  expect(await ask("keeper", "/")).toMatchObject({ status: 200 });
  // Nothing else changes, not even the version.
  await sample.run({ ...keeper, settings: { cells: "per-worker", memoryMib: 256 } });
  expect(await ask("keeper", `/keep/${180 + GARBAGE_MB}`)).toMatchObject({ status: 200 });
});

test("limits: a turn is the longest that a worker of the cell may take, up to the ceiling", () => {
  const limits = (...cpuMs: ReadonlyArray<number | undefined>): number =>
    limitsOf(cpuMs.map((each) => worker("any", each))).cpuMs;
  expect(limits(undefined)).toBe(1_000);
  expect(limits(50)).toBe(50);
  expect(limits(50, undefined)).toBe(1_000);
  expect(limits(29_999)).toBe(29_999);
  expect(limits(30_000)).toBe(30_000);
  expect(limits(30_001)).toBe(30_000);
});

test("limits: subrequests are those of all workers of the cell, up to the ceiling", () => {
  const allowed = (...subrequests: ReadonlyArray<number | undefined>): number =>
    subrequestsOf(
      subrequests.map((each) => {
        const { version } = worker("any");
        return { version: { ...version, ...(each && { limits: { subrequests: each } }) } };
      }),
    );
  expect(allowed(undefined)).toBe(50);
  expect(allowed(7)).toBe(7);
  expect(allowed(7, undefined)).toBe(57);
  expect(allowed(9_999)).toBe(9_999);
  expect(allowed(10_000)).toBe(10_000);
  expect(allowed(10_001)).toBe(10_000);
});
