import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AccountId } from "@atoll/control-plane/contract";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { NO_SANDBOX } from "../sandbox/sandbox.ts";
import { askCell } from "./cell-client.ts";
import type { Cell, CellSpec } from "./cell-host.ts";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { readStartTicks } from "./process-table.ts";
import type { CellLine, CellStartError } from "./workerd-process.ts";
import { WorkerdHost, type WorkerdHostOptions } from "./workerd-host.ts";
import { sampleCellSpec } from "./sample-spec.ts";
import { makeTestDirectory } from "./test-directory.ts";

const log = pino({ level: "silent" });
let directory: string;
let runDirectory: string;
let lines: CellLine[];
let host: WorkerdHost;

beforeEach(async () => {
  directory = await makeTestDirectory("atoll-host-");
  runDirectory = join(directory, "run");
  lines = [];
  host = await openHost();
});

afterEach(async () => {
  await host.dispose();
  await rm(directory, { recursive: true, force: true });
});

function openHost(
  options: Partial<Pick<WorkerdHostOptions, "startCpuMsMax">> = {},
): Promise<WorkerdHost> {
  const onLine = (line: CellLine): unknown => lines.push(line);
  return WorkerdHost.open({ runDirectory, zygoteCount: 1, log, onLine, ...options });
}

/** Nanoseconds that the living threads of a process ran since it started. */
function threadsNs(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  const times = threads.map((thread) =>
    Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]),
  );
  return times.reduce((sum, ns) => sum + ns, 0);
}

function specOf(source: string): Promise<CellSpec> {
  return sampleCellSpec(source, directory);
}

const HELLO = `export default { fetch() { console.log("a\\nb"); return new Response("hello"); } };`;

test("workerd host: a cell serves on its sockets and writes lines", async () => {
  const cell = await host.start(await specOf(HELLO));
  const answer = await askCell({ socketPath: cell.socketPath("w0"), timeoutMs: 5_000 });
  expect(answer.body).toBe("hello");
  const health = await askCell({ socketPath: cell.socketPath("health"), timeoutMs: 5_000 });
  expect(health.status).toBe(200);
  await waitFor(() => expect(lines.length).toBeGreaterThan(0));
  expect(JSON.parse(lines[0]?.text ?? "")).toMatchObject({ level: "log", message: "a\nb" });
  expect(lines[0]?.cell).toBe(cell.id);
  expect(cell.startMs).toBeGreaterThan(0);
});

test("workerd host: a cell that writes without end fills no log", async () => {
  const cell = await host.start(
    await specOf(`export default { fetch() {
      for (let i = 0; i < 3_000; i += 1) console.log("x".repeat(1_000));
      return new Response("written");
    } };`),
  );
  await askCell({ socketPath: cell.socketPath("w0"), timeoutMs: 10_000 });
  await cell.stop();
  const bytes = lines.reduce((sum, { text }) => sum + text.length, 0);
  expect(bytes).toBeLessThan(2 * LIMITS.cellOutputBytes);
  expect(lines.at(-1)?.text).toMatch(/^\d+ lines were left out/);
});

test("workerd host: a machine without memory ends cells, and not the agent", async () => {
  const cell = await host.start(await specOf(HELLO));
  const scoreOf = (pid: number | "self"): number =>
    Number(readFileSync(`/proc/${pid}/oom_score`, "utf8"));
  // Whatever the agent has mapped of its database counts as well.
  expect(scoreOf(cell.pid) - scoreOf("self")).toBeGreaterThan(200);
});

// Only root runs cells as another user, who could not change them.
test.skipIf(process.getuid?.() !== 0)(
  "workerd host: the static files of a cell that ended are the next one's",
  async () => {
    const clock = new ManualClock();
    await using resources = new AsyncDisposableStack();
    const sandboxed = await WorkerdHost.open({
      runDirectory: join(directory, "sites-run"),
      ...{ zygoteCount: 1, log, clock },
    });
    resources.defer(() => sandboxed.dispose());
    const site = join(directory, "site");
    await mkdir(site);
    await writeFile(join(site, "index.html"), "home");
    sandboxed.keepReady([site]);
    const spec = { ...(await specOf(HELLO)), sites: [site] };
    const inodeOf = async (cell: Cell): Promise<number> =>
      (await stat(join(dirname(cell.socketPath("w0")), "sites", "0"))).ino;
    const first = await sandboxed.start(spec);
    const before = await inodeOf(first);
    await first.stop();
    expect(await inodeOf(await sandboxed.start(spec))).toBe(before);
  },
);

test("workerd host: a start may take CPU time up to its limit, and is ended beyond it", async () => {
  const spec = await specOf(`
    let sum = 0;
    for (let i = 0; i < 3e8; i += 1) sum += i % 7;
    export default { fetch() { return new Response(String(sum)); } };`);
  const unlimited = await host.start(spec);
  const usedMs = unlimited.usage().cpuNs / 1e6;
  await host.dispose();
  // How long the same loop takes varies on a machine that others use as well.
  host = await openHost({ startCpuMsMax: 4 * usedMs });
  expect((await host.start(spec)).startMs).toBeGreaterThan(0);
  await host.dispose();
  const startCpuMsMax = usedMs / 4;
  host = await openHost({ startCpuMsMax });
  const error = await host.start(spec).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "cell_failed", exit: { breach: "exceededCpu" } });
  expect((error as CellStartError).exit.usage.cpuNs / 1e6).toBeGreaterThanOrEqual(startCpuMsMax);
});

test("workerd host: a stopped cell leaves neither process nor directory", async () => {
  const cell = await host.start(await specOf(HELLO));
  const [exit, again] = await Promise.all([cell.stop(), cell.stop()]);
  expect(again).toEqual(exit);
  expect(await cell.exited).toEqual(exit);
  expect(await readStartTicks(cell.pid)).toBeUndefined();
  expect(await readdir(runDirectory)).not.toContain(cell.id);
});

test("workerd host: a cell tells what it used since it has its config, also after its end", async () => {
  const cell = await host.start(
    await specOf(`export default { fetch() {
      for (const end = Date.now() + 1; Date.now() < end;) for (let i = 0; i < 3e7; i++);
      globalThis.held = new Uint8Array(40_000_000).fill(1);
      return new Response("done");
    } };`),
  );
  const idle = cell.usage();
  await askCell({ socketPath: cell.socketPath("w0"), timeoutMs: 10_000 });
  host.sample();
  const busy = cell.usage();
  expect(busy.cpuNs - idle.cpuNs).toBeGreaterThan(5_000_000);
  // All of its threads, but with what the zygote took to start.
  expect(busy.cpuNs).toBeLessThan(threadsNs(cell.pid));
  expect(busy.memoryPeakBytes).toBeGreaterThan(40_000_000);
  await askCell({ socketPath: cell.socketPath("w0"), timeoutMs: 10_000 });
  const { usage } = await cell.stop();
  expect(usage.cpuNs - busy.cpuNs).toBeGreaterThan(5_000_000);
  expect(usage.memoryPeakBytes).toBeGreaterThanOrEqual(busy.memoryPeakBytes);
  expect(cell.usage()).toEqual(usage);
});

test("workerd host: code that throws at start is rejected with what it wrote", async () => {
  const starting = host.start(await specOf(`throw new Error("boom at top");`));
  await expect(starting).rejects.toMatchObject({
    code: "cell_failed",
    exit: {
      code: 1,
      stderrTail: expect.stringContaining("boom at top") as string,
      usage: { cpuNs: expect.any(Number) as number },
    },
  });
});

test("workerd host: a killed cell tells its signal", async () => {
  const cell = await host.start(await specOf(HELLO));
  process.kill(cell.pid, "SIGKILL");
  expect(await cell.exited).toMatchObject({ code: null, signal: "SIGKILL" });
});

test("workerd host: a zygote that dies is replaced", async () => {
  await waitFor(() => expect(host.processCount).toBe(1));
  const [record] = (await readdir(runDirectory)).filter((name) => name.endsWith(".pid"));
  const before = record?.slice(0, -".pid".length);
  process.kill(await pidOf(record ?? ""), "SIGKILL");
  await waitFor(async () => {
    const records = (await readdir(runDirectory)).filter((name) => name.endsWith(".pid"));
    expect(records).toHaveLength(1);
    expect(records[0]).not.toContain(before);
  });
});

test("workerd host: what killed all zygotes fails no start that comes before that is known", async () => {
  const ownDirectory = join(directory, "several");
  const several = await WorkerdHost.open({ runDirectory: ownDirectory, zygoteCount: 3, log });
  try {
    const spec = await specOf(HELLO);
    await waitFor(() => expect(several.zygotes).toBe(3));
    const records = readdirSync(ownDirectory).filter((name) => name.endsWith(".pid"));
    for (const record of records) {
      process.kill(
        Number.parseInt(readFileSync(join(ownDirectory, record), "utf8"), 10),
        "SIGKILL",
      );
    }
    const cell = await several.start(spec);
    expect(cell.pid).toBeGreaterThan(0);
  } finally {
    await several.dispose();
  }
});

test("workerd host: nothing is left after it was disposed, twice", async () => {
  const spec = await specOf(HELLO);
  const cells = await Promise.all([host.start(spec), host.start(spec), host.start(spec)]);
  await Promise.all([host.dispose(), host.dispose()]);
  expect(host.processCount).toBe(0);
  expect(await readdir(runDirectory)).toEqual([]);
  for (const cell of cells) expect(await readStartTicks(cell.pid)).toBeUndefined();
  await expect(host.start(spec)).rejects.toMatchObject({ code: "closed" });
});

test("workerd host: one that is disposed while its zygotes start leaves no process", async () => {
  // Each finds out anew what the machine can give, which takes a second or two.
  const rounds = process.env["ATOLL_THOROUGH"] === undefined ? 3 : 10;
  for (let round = 0; round < rounds; round += 1) {
    const short = await WorkerdHost.open({
      runDirectory: join(directory, "short"),
      zygoteCount: 2,
      log,
    });
    await short.dispose();
    expect(short.processCount).toBe(0);
  }
});

test("workerd host: descriptors do not grow with the cells that came and went", async () => {
  const spec = await specOf(HELLO);
  await (await host.start(spec)).stop();
  const descriptors = async (): Promise<number> => (await readdir("/proc/self/fd")).length;
  const before = await descriptors();
  for (let round = 0; round < 5; round += 1) await (await host.start(spec)).stop();
  // The pool is being refilled all the time: its one zygote's four pipes and the file that tells its
  // processor time may differ.
  await waitFor(async () => expect(await descriptors()).toBeLessThanOrEqual(before + 5));
});

test("workerd host: what an earlier agent left is ended and removed at start", async () => {
  await host.dispose();
  const stale = spawn("sleep", ["60"]);
  const stranger = spawn("sleep", ["60"]);
  try {
    await mkdir(join(runDirectory, "0badcafe"));
    const ticks = await readStartTicks(stale.pid ?? 0);
    await writeFile(join(runDirectory, "0badcafe.pid"), `${stale.pid} ${ticks}`);
    // The same pid with another start time is another program's process by now.
    await writeFile(join(runDirectory, "0badbeef.pid"), `${stranger.pid} 1`);
    await writeFile(join(runDirectory, "0badf00d.pid"), "garbage");
    host = await openHost();
    await waitFor(() => expect(stale.signalCode).toBe("SIGKILL"));
    expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
    expect((await readdir(runDirectory)).filter((name) => name.startsWith("0bad"))).toEqual([]);
  } finally {
    stale.kill("SIGKILL");
    stranger.kill("SIGKILL");
  }
});

test("workerd host: a run directory too deep for socket paths is refused", async () => {
  const deep = join(directory, "d".repeat(90));
  await expect(WorkerdHost.open({ runDirectory: deep, zygoteCount: 0, log })).rejects.toMatchObject(
    { code: "run_directory_too_long" },
  );
});

test("workerd host: a program that can't be started fails the start, and leaves nothing", async () => {
  const broken = await WorkerdHost.open({
    runDirectory: join(directory, "broken"),
    zygoteCount: 0,
    log,
    workerdPath: join(directory, "missing"),
    confinement: { sandbox: NO_SANDBOX, shortfalls: [] },
  });
  const spec = {
    config: new Uint8Array(),
    sockets: [],
    sites: [],
    services: {},
    account: AccountId.parse("0".repeat(32)),
    limits: { cpuMs: 1, memoryBytes: 1 },
  };
  await expect(broken.start(spec)).rejects.toMatchObject({ code: "cell_failed" });
  expect(await readdir(join(directory, "broken"))).toEqual([]);
  await broken.dispose();
});

async function pidOf(record: string): Promise<number> {
  const { readFile } = await import("node:fs/promises");
  return Number((await readFile(join(runDirectory, record), "utf8")).split(" ")[0]);
}

test("workerd host: the pool grows with a burst of starts, and shrinks when no more come", async () => {
  const clock = new ManualClock();
  const bursting = await WorkerdHost.open({
    runDirectory: join(directory, "bursting"),
    zygoteCount: 1,
    zygoteCountMax: 4,
    clock,
    log,
  });
  const spec = await sampleCellSpec(`export default { fetch: () => new Response() };`, directory);
  await waitFor(() => expect(bursting.processCount).toBe(1));
  const cells = await Promise.all([1, 2, 3].map(() => bursting.start(spec)));
  await waitFor(() => expect(bursting.processCount).toBe(cells.length + 3));
  clock.advance(LIMITS.zygoteRateHalfLifeMs * 10);
  await waitFor(() => expect(bursting.processCount).toBe(cells.length + 1));
  await bursting.dispose();
  expect(bursting.processCount).toBe(0);
});
