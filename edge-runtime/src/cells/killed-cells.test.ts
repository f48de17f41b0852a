import { readFile } from "node:fs/promises";
import { get } from "node:http";
import { text } from "node:stream/consumers";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { says } from "../config/sample-version.ts";
import { LIMITS } from "../limits.ts";
import type { Cell, CellExit, CellHost, CellSpec } from "./cell-host.ts";
import { SampleSupervisor } from "./sample-supervisor.ts";
import { CellStartError } from "./workerd-process.ts";

const KILLED: CellExit = {
  code: null,
  signal: "SIGKILL",
  stderrTail: "",
  usage: { cpuNs: 0, memoryPeakBytes: 0 },
};

let sample: SampleSupervisor;
/** What happens to the starts to come, in turn; to all later ones nothing. */
let disturbances: Array<(start: () => Promise<Cell>) => Promise<Cell>>;

beforeEach(async () => {
  disturbances = [];
  const disturb = (host: CellHost): CellHost => ({
    start: (spec: CellSpec) => {
      const disturbance = disturbances.shift() ?? ((start) => start());
      return disturbance(() => host.start(spec));
    },
    sample: () => host.sample(),
    keepReady: (sites) => host.keepReady(sites),
    dispose: () => host.dispose(),
  });
  sample = await SampleSupervisor.open({ disturb });
});
afterEach(() => sample.close());

function killedBeforeItListened(): Promise<Cell> {
  return Promise.reject(new CellStartError(KILLED));
}

async function killedBeforeItsProbe(start: () => Promise<Cell>): Promise<Cell> {
  const cell = await start();
  process.kill(cell.pid, "SIGKILL");
  return cell;
}

async function crashedBeforeItsProbe(start: () => Promise<Cell>): Promise<Cell> {
  const cell = await start();
  process.kill(cell.pid, "SIGSEGV");
  return cell;
}

async function ask(): Promise<string> {
  const { port } = new URL(sample.ingress.url);
  return new Promise((resolve, reject) => {
    get({ port, headers: { host: "sample.localhost" }, agent: false }, (response) => {
      text(response).then(resolve, reject);
    }).once("error", reject);
  });
}

test("a killed cell: one that was killed while it started is started again for who waits", async () => {
  await sample.run(says("hello"));
  disturbances = [killedBeforeItListened];
  expect(await ask()).toBe("hello");
});

test("a killed cell: what is killed at each start is not started without end", async () => {
  await sample.run(says("hello"));
  let starts = 0;
  const counted = (): Promise<Cell> => {
    starts += 1;
    return killedBeforeItListened();
  };
  disturbances = Array.from({ length: 10 }, () => counted);
  await expect(sample.supervisor.activate(says("hello").key)).rejects.toMatchObject({
    code: "cell_failed",
  });
  expect(starts).toBe(2);
});

test("a killed cell: what starts them all is killed, and the next request has a new one", async () => {
  await sample.run(says("hello"));
  expect(await ask()).toBe("hello");
  const launchers = await launcherPids();
  expect(launchers).toHaveLength(1);
  for (const pid of launchers) process.kill(pid, "SIGKILL");
  await waitFor(async () => expect(await launcherPids()).not.toContain(launchers[0]));
  expect(await ask()).toBe("hello");
});

/** Of this process. */
async function launcherPids(): Promise<number[]> {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, "utf8");
  const pids = children.split(" ").filter((pid) => pid !== "");
  const names = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")),
  );
  return pids.filter((_, index) => names[index] === "atoll-launcher\n").map(Number);
}

test.each([killedBeforeItListened, killedBeforeItsProbe])(
  "a killed cell: a deploy does not fail for it (%o)",
  async (disturbance) => {
    await sample.run(says("old"));
    expect(await ask()).toBe("old");
    disturbances = [disturbance];
    await sample.run(says("new"));
    expect(await ask()).toBe("new");
  },
);

test("a killed cell: one that ends by itself before it serves is not started again for nobody", async () => {
  await sample.run(says("old"));
  expect(await ask()).toBe("old");
  let starts = 0;
  const counted = (start: () => Promise<Cell>): Promise<Cell> => {
    starts += 1;
    return start();
  };
  disturbances = [crashedBeforeItsProbe, counted, counted];
  expect(await sample.supervisor.apply([says("new")])).toMatchObject([{ worker: says("new").key }]);
  // Takes longer than a cell that nobody waits for would wait for its start.
  await sample.run(says("newer"));
  expect(await ask()).toBe("newer");
  expect(starts).toBe(1);
});

test("a killed cell: it comes back slowly where the node can't start any, and when it can", async () => {
  await sample.run(says("hello"));
  expect(await ask()).toBe("hello");
  const triesMs: number[] = [];
  disturbances = Array.from({ length: 3 }, () => () => {
    triesMs.push(performance.now());
    return Promise.reject(new Error("no space left on device"));
  });
  for (const { pid } of sample.supervisor.status()) process.kill(pid, "SIGKILL");
  await waitFor(async () => {
    expect([triesMs.length, sample.supervisor.counts.warm]).toEqual([3, 1]);
  });
  expect(await ask()).toBe("hello");
  const waitsMs = triesMs.slice(1).map((ms, index) => ms - (triesMs[index] ?? 0));
  expect(waitsMs).toHaveLength(2);
  // A timer may be early by a part of a millisecond.
  for (const ms of waitsMs) expect(ms).toBeGreaterThanOrEqual(LIMITS.restartRetryMs - 1);
});

test("a killed cell: is told from one that lives, at once", async () => {
  const worker = says("hello");
  await sample.run(worker);
  const { socketPath } = await sample.supervisor.activate(worker.key);
  const begunMs = performance.now();
  expect(await sample.supervisor.lossOf(socketPath)).toBe("alive");
  expect(performance.now() - begunMs).toBeLessThan(LIMITS.cellEndMs / 2);
  for (const { pid } of sample.supervisor.status()) process.kill(pid, "SIGKILL");
  expect(await sample.supervisor.lossOf(socketPath)).toBe("killed");
});

test("a cell: who asks for it while it is put out of use does not get its socket", async () => {
  const worker = says("hello");
  await sample.run(worker);
  await sample.supervisor.activate(worker.key);
  const asked = sample.supervisor.activate(worker.key);
  // The switch comes before any news of the socket that is being tried.
  const disposed = sample.supervisor.dispose();
  await expect(asked).rejects.toMatchObject({ code: "worker_unknown" });
  await disposed;
});
