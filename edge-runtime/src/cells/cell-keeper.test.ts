import { rm } from "node:fs/promises";
import { request, type ClientRequest } from "node:http";
import { join } from "node:path";
import { Region } from "@atoll/control-plane/contract";
import pino from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ConfigCompiler } from "../config/compile-config.ts";
import { sampleModule, type SampleWorker } from "../config/sample-version.ts";
import { BuiltinIngress } from "../ingress/builtin/builtin-ingress.ts";
import { LIMITS } from "../limits.ts";
import { CellSupervisor } from "./cell-supervisor.ts";
import { ManualClock } from "./manual-clock.ts";
import { mainThreadNs } from "./process-table.ts";
import { makeTestDirectory } from "./test-directory.ts";
import { installedWorkerdPath, WorkerdHost } from "./workerd-host.ts";

const log = pino({ level: "silent" });
const MIB = 1024 * 1024;

let directory: string;
let host: WorkerdHost;
let ingress: BuiltinIngress;
let clock: ManualClock;
let supervisor: CellSupervisor;

beforeEach(async () => {
  directory = await makeTestDirectory("atoll-keeper-");
  clock = new ManualClock();
  host = await WorkerdHost.open({ runDirectory: join(directory, "run"), zygoteCount: 1, log });
  ingress = await BuiltinIngress.open({
    port: 0,
    region: Region.parse("fra"),
    activator: {
      activate: (worker) => supervisor.activate(worker),
      lossOf: (socketPath) => supervisor.lossOf(socketPath),
    },
    log,
  });
});

afterEach(async () => {
  await supervisor.dispose();
  await ingress.close();
  await host.dispose();
  const left = host.processCount;
  await rm(directory, { recursive: true, force: true });
  if (left > 0) throw new Error(`left: ${left} processes`);
});

async function open(memoryBudgetBytes: number): Promise<void> {
  const compiler = await ConfigCompiler.open({
    workerdPath: installedWorkerdPath(),
    scratchDirectory: join(directory, "scratch"),
  });
  const nowhere = join(directory, "nowhere.sock");
  const sockets = { "kv.sock": nowhere, "egress.sock": nowhere, "cache.sock": nowhere };
  supervisor = new CellSupervisor({
    host,
    compiler,
    services: {
      open: async () => ({
        sockets,
        subrequestUsage: () => ({ requests: 0, bytesSent: 0, bytesReceived: 0 }),
        close: async () => undefined,
      }),
    },
    ingress,
    kvCapability: () => "capability",
    memoryBudgetBytes,
    clock,
    log,
  });
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

async function run(...workers: ReadonlyArray<SampleWorker>): Promise<void> {
  expect(await supervisor.apply(workers)).toEqual([]);
  ingress.setRoutes(
    workers.map(({ key, name }) => ({ pattern: `${name}.localhost/*`, worker: key })),
  );
}

/** Begins a request that is in flight until its body ends. */
function begin(name: string): {
  readonly outgoing: ClientRequest;
  readonly status: Promise<number>;
} {
  const { port } = new URL(ingress.url);
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
  await vi.waitFor(
    async () => {
      const times = (await supervisor.status()).map(({ pid }) => mainThreadNs(pid)).join();
      const isAtRest = times === before;
      before = times;
      expect(isAtRest).toBe(true);
    },
    { timeout: 10_000, interval: 50 },
  );
}

async function warmWorkers(): Promise<ReadonlyArray<string>> {
  const cells = await supervisor.status();
  return cells
    .filter(({ state }) => state === "warm")
    .flatMap(({ workers }) => workers)
    .toSorted();
}

test("keeper: over budget the least recently used sleeps, and never one with a request in flight", async () => {
  // Each takes about 40 MB.
  await open(100 * MIB);
  await run(worker("held"), worker("early"), worker("late"));
  const held = begin("held");
  await vi.waitFor(async () => expect(await warmWorkers()).toEqual(["held"]), 10_000);
  for (const name of ["early", "late"]) {
    clock.advance(1_000);
    await ask(name);
  }
  expect(await warmWorkers()).toEqual(["early", "held", "late"]);
  clock.advance(LIMITS.cellLookMs);
  await vi.waitFor(async () => expect(await warmWorkers()).toEqual(["held", "late"]), 10_000);
  held.outgoing.end();
  expect(await held.status).toBe(200);
  // It comes back when it is asked for, and then another one's turn has come.
  await vi.waitFor(async () => {
    clock.advance(1_000);
    await ask("early");
    clock.advance(LIMITS.cellLookMs);
    const awake = await warmWorkers();
    expect(awake).toContain("early");
    expect(awake).toHaveLength(2);
  }, 10_000);
});

test("keeper: what was deployed and not used yet is started ahead, and is the first to go", async () => {
  await open(100 * MIB);
  const [used, fresh] = [worker("used"), worker("fresh")];
  await run(used);
  await ask("used");
  await run(used, fresh);
  await vi.waitFor(async () => expect(await warmWorkers()).toEqual(["fresh", "used"]), 10_000);
  clock.advance(LIMITS.cellLookMs);
  // This one is there for a request, and has no room beside both.
  const third = worker("third");
  await run(used, fresh, third);
  await ask("third");
  await vi.waitFor(async () => {
    clock.advance(LIMITS.cellLookMs);
    expect(await warmWorkers()).toEqual(["third", "used"]);
  }, 10_000);
});

test("keeper: nothing is started ahead where there is no room, or when a node starts", async () => {
  await open(1 * MIB);
  const [found, deployed] = [worker("found"), worker("deployed")];
  await run(found);
  await run(found, deployed);
  // Ahead of its use nothing started: the first request has to wait for it.
  const activation = await supervisor.activate(deployed.key);
  expect(activation.coldMs).toBeGreaterThan(0);
  expect(await warmWorkers()).toEqual(["deployed"]);
});
