import { request, type ClientRequest } from "node:http";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, expect, test } from "vitest";
import { sampleModule, type SampleWorker } from "../config/sample-version.ts";
import { LIMITS } from "../limits.ts";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { ProcessCounters } from "./process-table.ts";
import { SampleSupervisor } from "./sample-supervisor.ts";

const MIB = 1024 * 1024;

let clock: ManualClock;
let sample: SampleSupervisor;

afterEach(() => sample.close());

async function open(memoryBudgetBytes: number): Promise<void> {
  clock = new ManualClock();
  sample = await SampleSupervisor.open({ clock, memoryBudgetBytes });
}

/** Takes 30 MB, and answers when it has read the whole request. */
const SOURCE = `const kept = new Uint8Array(30_000_000).fill(1);
  export default { async fetch(request) {
    await request.text();
    return new Response(String(kept.length));
  } };`;

function worker(name: string): SampleWorker {
  return sampleModule(SOURCE, { name });
}

/** Begins a request that is in flight until its body ends. */
function begin(name: string): {
  readonly outgoing: ClientRequest;
  readonly status: Promise<number>;
} {
  const { port } = new URL(sample.ingress.url);
  const headers = { host: `${name}.localhost` };
  const outgoing = request({ port, method: "POST", agent: false, headers });
  const status = new Promise<number>((resolve, reject) => {
    outgoing.once("error", reject);
    outgoing.once("response", (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode ?? 0));
    });
  });
  outgoing.flushHeaders();
  return { outgoing, status };
}

/** Asks a worker, and waits until every cell has come to rest: what one does after its answer is use, too. */
async function ask(name: string): Promise<void> {
  const { outgoing, status } = begin(name);
  outgoing.end();
  expect(await status).toBe(200);
  let before = "";
  await waitFor(() => {
    const times = sample.supervisor
      .status()
      .map(({ pid }) => ranNs(pid))
      .join();
    const isAtRest = times === before;
    before = times;
    expect(isAtRest).toBe(true);
  });
}

function ranNs(pid: number): number | undefined {
  const counters = new ProcessCounters(pid);
  const times = counters.times();
  counters.close();
  return times?.ranNs;
}

function warmWorkers(): ReadonlyArray<string> {
  const cells = sample.supervisor.status();
  return cells
    .filter(({ state }) => state === "warm")
    .flatMap(({ workers }) => workers)
    .toSorted();
}

test("keeper: over budget the least recently used sleeps, and never one with a request in flight", async () => {
  // Each takes about 40 MB.
  await open(100 * MIB);
  await sample.run(worker("held"), worker("early"), worker("late"));
  const held = begin("held");
  await waitFor(() => expect(warmWorkers()).toEqual(["held"]));
  for (const name of ["early", "late"]) {
    clock.advance(LIMITS.cellLookMs);
    await ask(name);
  }
  expect(warmWorkers()).toEqual(["early", "held", "late"]);
  clock.advance(LIMITS.cellLookMs);
  await waitFor(() => expect(warmWorkers()).toEqual(["held", "late"]));
  held.outgoing.end();
  expect(await held.status).toBe(200);
  // It comes back when it is asked for, and then another one's turn has come.
  await waitFor(async () => {
    clock.advance(LIMITS.cellLookMs);
    await ask("early");
    clock.advance(LIMITS.cellLookMs);
    const awake = warmWorkers();
    expect(awake).toContain("early");
    expect(awake).toHaveLength(2);
  });
  const evicted = (): number => sample.supervisor.ends.cellEnds["evicted"] ?? 0;
  await waitFor(() => expect(evicted()).toBeGreaterThanOrEqual(2));
  expect(sample.supervisor.ends.cellFaults).toEqual([]);
});

test("keeper: what was deployed and not used yet is started ahead, and is the first to go", async () => {
  await open(100 * MIB);
  const [used, fresh] = [worker("used"), worker("fresh")];
  await sample.run(used);
  await ask("used");
  await sample.run(used, fresh);
  await waitFor(() => expect(warmWorkers()).toEqual(["fresh", "used"]));
  clock.advance(LIMITS.cellLookMs);
  // This one is there for a request, and has no room beside both.
  const third = worker("third");
  await sample.run(used, fresh, third);
  await ask("third");
  await waitFor(() => {
    clock.advance(LIMITS.cellLookMs);
    expect(warmWorkers()).toEqual(["third", "used"]);
  });
});

test("keeper: nothing is started ahead where there is no room, or when a node starts", async () => {
  await open(1 * MIB);
  const [found, deployed] = [worker("found"), worker("deployed")];
  await sample.run(found);
  await sample.run(found, deployed);
  // Ahead of its use nothing started: the first request has to wait for it.
  const activation = await sample.supervisor.activate(deployed.key);
  expect(activation.coldMs).toBeGreaterThan(0);
  expect(warmWorkers()).toEqual(["deployed"]);
});
