import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigCache } from "../config/config-cache.ts";
import { ConfigCompiler } from "../config/compile-config.ts";
import { sampleModule, type Sample, type SampleWorker } from "../config/sample-version.ts";
import { LIMITS } from "../limits.ts";
import { askCell } from "./cell-client.ts";
import { CellSupervisor } from "./cell-supervisor.ts";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { versionTarget } from "../ingress/target-key.ts";
import type { PreparedWorker } from "./prepared-worker.ts";
import { readStartTicks } from "./process-table.ts";
import { RoutedCells } from "./routed-cells.ts";
import { installedWorkerdPath, WorkerdHost } from "./workerd-host.ts";
import { servicesNowhere } from "./sample-services.ts";
import { makeTestDirectory } from "./test-directory.ts";

const log = pino({ level: "silent" });
let directory: string;
let host: WorkerdHost;
let routes: RoutedCells;
let clock: ManualClock;
let openServices: number;
let supervisor: CellSupervisor;

beforeEach(async () => {
  directory = await makeTestDirectory("atoll-cells-");
  const workerdPath = installedWorkerdPath();
  const cache = await ConfigCache.open({
    directory: join(directory, "configs"),
    key: new Uint8Array(32).fill(7),
  });
  const compiler = await ConfigCompiler.open({
    workerdPath,
    scratchDirectory: join(directory, "scratch"),
    cache,
  });
  host = await WorkerdHost.open({ runDirectory: join(directory, "run"), zygoteCount: 1, log });
  routes = new RoutedCells();
  clock = new ManualClock();
  openServices = 0;
  supervisor = new CellSupervisor({
    host,
    compiler,
    services: {
      open: async () => {
        openServices += 1;
        return {
          ...servicesNowhere(directory),
          close: async () => {
            openServices -= 1;
          },
        };
      },
    },
    ingress: routes,
    kvCapability: () => "capability",
    tailCapability: () => "capability",
    onSkipped: () => undefined,
    clock,
    log,
  });
});

afterEach(async () => {
  await supervisor.dispose();
  await host.dispose();
  const left = [
    ...(await readdir(join(directory, "run"))),
    ...(await readdir(join(directory, "scratch"))),
  ];
  // Every test ends with this: what it started is gone, whatever it did.
  if (host.processCount + openServices + left.length > 0) {
    throw new Error(
      `left: ${host.processCount} processes, ${openServices} services, ${left.join()}`,
    );
  }
  await rm(directory, { recursive: true, force: true });
});

/** A worker that answers with a text. */
function says(text: string, sample: Sample = {}): SampleWorker {
  return sampleModule(
    `export default { fetch() { return new Response(${JSON.stringify(text)}); } };`,
    sample,
  );
}

async function ask(worker: SampleWorker): Promise<string> {
  return (await routes.ask(worker.key, supervisor)).body;
}

test("supervisor: 100 concurrent activations start one cell", async () => {
  const worker = says("hello");
  expect(await supervisor.apply([worker])).toEqual([]);
  const activations = await Promise.all(
    Array.from({ length: 100 }, () => supervisor.activate(worker.key)),
  );
  expect(new Set(activations.map((activation) => activation.socketPath)).size).toBe(1);
  expect(activations.every((activation) => (activation.coldMs ?? 0) > 0)).toBe(true);
  expect(openServices).toBe(1);
  expect(routes.published.get(worker.key)).toEqual([activations[0]?.socketPath]);
  expect(await supervisor.activate(worker.key)).toEqual({
    socketPath: activations[0]?.socketPath,
  });
});

test("supervisor: requests past the bounded queue of a cold worker are refused", async () => {
  const worker = says("hello");
  await supervisor.apply([worker]);
  const calls = Array.from({ length: LIMITS.activationQueueMax + 1 }, () =>
    supervisor.activate(worker.key),
  );
  const results = await Promise.allSettled(calls);
  const refused = results.filter((result) => result.status === "rejected");
  expect(refused).toHaveLength(1);
  expect(refused[0]?.reason).toMatchObject({ code: "queue_full" });
});

test("supervisor: a worker that is not run here is unknown", async () => {
  await supervisor.apply([]);
  await expect(supervisor.activate(says("x").key)).rejects.toMatchObject({
    code: "worker_unknown",
  });
});

test("supervisor: redeploys under load fail no request, and none is cold", async () => {
  await supervisor.apply([says("0")]);
  const { key } = says("0");
  await ask(says("0"));
  const done = new AbortController();
  const answers: Array<{ readonly body: string; readonly isCold: boolean }> = [];
  const load = Array.from({ length: 4 }, async () => {
    while (!done.signal.aborted) {
      const answer = await routes.ask(key, supervisor);
      expect(answer.status).toBe(200);
      answers.push(answer);
    }
  });
  for (let round = 1; round <= 5; round += 1) {
    expect(await supervisor.apply([says(`${round}`)])).toEqual([]);
    // From the moment the apply resolved, nothing of the old version is seen.
    expect(await ask(says(""))).toBe(`${round}`);
  }
  await waitFor(() => expect(answers.at(-1)?.body).toBe("5"));
  done.abort();
  await Promise.all(load);
  expect(answers.filter((answer) => answer.isCold)).toEqual([]);
  await waitFor(() => expect(supervisor.status()).toHaveLength(1));
});

test("supervisor: what did not change is not touched, and what left is stopped", async () => {
  const a = says("a", { name: "a" });
  const b = says("b", { name: "b" });
  await supervisor.apply([a, b]);
  await Promise.all([ask(a), ask(b)]);
  const before = routes.published.get(a.key);
  await supervisor.apply([a]);
  expect(routes.published.get(a.key)).toEqual(before);
  expect(routes.published.has(b.key)).toBe(false);
  await expect(supervisor.activate(b.key)).rejects.toMatchObject({ code: "worker_unknown" });
  await waitFor(() => expect(openServices).toBe(1));
});

test("supervisor: a version that does not start leaves the old one serving", async () => {
  const good = says("good");
  const other = says("other", { name: "other" });
  await supervisor.apply([good, other]);
  await ask(good);
  const bad = sampleModule(`throw new Error("broken on arrival");`);
  const changed = says("changed", { name: "other" });
  expect(await supervisor.apply([bad, changed])).toEqual([
    {
      worker: bad.key,
      version: bad.version.id,
      reason: expect.stringContaining("broken on arrival") as string,
    },
  ]);
  expect(await ask(good)).toBe("good");
  expect(await ask(other)).toBe("changed");
});

/** Two versions of the worker `sample`, as a split has them. */
function splitOf(main: SampleWorker, other: SampleWorker): ReadonlyArray<PreparedWorker> {
  return [
    { ...main, role: "main" },
    { ...other, role: "other" },
  ];
}

async function askVersion({ key, version }: SampleWorker): Promise<unknown> {
  const { body, isCold } = await routes.ask(versionTarget(key, version.id), supervisor);
  return { body, isCold };
}

test("supervisor: two versions of a worker are warm, and none is restarted as their shares change", async () => {
  const [one, two] = [says("one"), says("two")];
  await supervisor.apply([one]);
  await ask(one);
  const [pid] = supervisor.status().map((cell) => cell.pid);
  expect(await supervisor.apply(splitOf(one, two))).toEqual([]);
  expect(await askVersion(one)).toEqual({ body: "one", isCold: false });
  expect(await askVersion(two)).toEqual({ body: "two", isCold: false });
  expect(await ask(one)).toBe("one");
  const pids = supervisor.status().map((cell) => cell.pid);
  expect(pids).toHaveLength(2);
  expect(pids).toContain(pid);
  // Now the other one has the larger share.
  await supervisor.apply(splitOf(two, one));
  expect(await ask(one)).toBe("two");
  expect(await askVersion(one)).toEqual({ body: "one", isCold: false });
  expect(supervisor.status().map((cell) => cell.pid)).toEqual(expect.arrayContaining(pids));
  await supervisor.apply([two]);
  expect(await ask(two)).toBe("two");
  expect(routes.published.has(versionTarget(two.key, two.version.id))).toBe(false);
  // A request that was on its way to a version that has left is answered all the same.
  expect(await askVersion(one)).toEqual({ body: "two", isCold: false });
  await waitFor(() => expect(supervisor.status()).toHaveLength(1));
  expect(pids).toContain(supervisor.status()[0]?.pid);
});

test("supervisor: a version beside another one has its own callees, and callers keep the main one", async () => {
  const helper = says("helped", { name: "helper" });
  const bindings = [{ type: "service" as const, name: "TO", service: helper.name }];
  const calls = (text: string, sample: Sample): SampleWorker =>
    sampleModule(
      `export default { async fetch(request, env) {
        return new Response(${JSON.stringify(text)} + (await (await env.TO.fetch(request)).text()));
      } };`,
      sample,
    );
  const [one, two] = [calls("one ", { bindings }), calls("two ", { bindings })];
  const toOne = [{ type: "service" as const, name: "TO", service: one.name }];
  const caller = calls("caller ", { name: "caller", bindings: toOne });
  expect(await supervisor.apply([caller, helper, ...splitOf(one, two)])).toEqual([]);
  expect(await ask(caller)).toBe("caller one helped");
  expect(await askVersion(two)).toMatchObject({ body: "two helped" });
  expect(await ask(helper)).toBe("helped");
});

test("supervisor: a version of a split that does not start fails alone", async () => {
  const helper = says("helped", { name: "helper" });
  const good = says("good");
  const bad = sampleModule(`throw new Error("broken on arrival");`, {
    bindings: [{ type: "service", name: "TO", service: helper.name }],
  });
  await supervisor.apply([good, helper]);
  await ask(good);
  const failures = await supervisor.apply([...splitOf(good, bad), helper]);
  expect(failures).toMatchObject([{ worker: good.key, version: bad.version.id }]);
  expect(await ask(good)).toBe("good");
  expect(await ask(helper)).toBe("helped");
});

test("supervisor: a version that cannot be configured fails only its own group", async () => {
  const alone = says("alone", { name: "alone" });
  const lost = says("lost", {
    name: "lost",
    bindings: [{ type: "assets", name: "FILES" }],
  });
  const failures = await supervisor.apply([alone, lost]);
  expect(failures).toMatchObject([{ worker: lost.key }]);
  expect(failures[0]?.reason).toContain("FILES");
  expect(await ask(alone)).toBe("alone");
});

test("supervisor: a killed cell comes back by itself, and its neighbours never notice", async () => {
  const victim = says("victim", { name: "victim" });
  const neighbour = says("neighbour", { name: "neighbour" });
  await supervisor.apply([victim, neighbour]);
  await Promise.all([ask(victim), ask(neighbour)]);
  const done = new AbortController();
  const load = (async () => {
    while (!done.signal.aborted) expect(await ask(neighbour)).toBe("neighbour");
  })();
  const before = pidOf("victim");
  await killCell("victim");
  await waitFor(async () => expect(pidOf("victim")).not.toBe(before));
  const answer = await routes.ask(victim.key, supervisor);
  expect(answer).toMatchObject({ body: "victim", isCold: false });
  done.abort();
  await load;
});

test("supervisor: a cell that keeps dying rests, longer each time, and a new version is not held up", async () => {
  const worker = says("hello");
  await supervisor.apply([worker]);
  let refusal: unknown;
  let deaths = 0;
  for (; refusal === undefined && deaths < 20; deaths += 1) {
    refusal = await supervisor.activate(worker.key).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (refusal === undefined) await killCell("sample");
  }
  expect(refusal).toMatchObject({ code: "cell_backoff" });
  expect(deaths).toBeGreaterThan(2);
  await supervisor.apply([says("fixed")]);
  expect(await ask(worker)).toBe("fixed");
});

test("supervisor: who finds a cell dying gets a fresh one, not its socket", async () => {
  const worker = says("hello");
  await supervisor.apply([worker]);
  const before = await supervisor.activate(worker.key);
  // At once, while its sockets may still accept.
  process.kill(pidOf("sample"), "SIGKILL");
  const after = await supervisor.activate(worker.key);
  expect((await askCell({ socketPath: after.socketPath, timeoutMs: 5_000 })).body).toBe("hello");
  expect(after.socketPath).not.toBe(before.socketPath);
  expect(await supervisor.lossOf(before.socketPath)).toBe("killed");
});

test("supervisor: a request that waits for a cold worker while it is redeployed is answered", async () => {
  await supervisor.apply([says("old")]);
  const { key } = says("old");
  const asked = Array.from({ length: 20 }, () => routes.ask(key, supervisor));
  await supervisor.apply([says("new")]);
  const bodies = (await Promise.all(asked)).map((answer) => answer.body);
  expect(bodies.filter((body) => body !== "old" && body !== "new")).toEqual([]);
  expect(await ask(says(""))).toBe("new");
});

test("supervisor: a version that failed is tried again by a later apply, and rests between", async () => {
  const other = says("other", { name: "other" });
  await supervisor.apply([says("good"), other]);
  await ask(says(""));
  const bad = sampleModule(`throw new Error("broken");`);
  const reasons: string[] = [];
  for (let round = 0; round < 8; round += 1) {
    const [failure] = await supervisor.apply([bad, other]);
    reasons.push(failure?.reason ?? "");
  }
  expect(reasons[0]).toContain("broken");
  expect(reasons.at(-1)).toContain("rests for");
  expect(await ask(says(""))).toBe("good");
});

test("supervisor: the status tells memory, time and state of each cell", async () => {
  const worker = says("hello");
  await supervisor.apply([worker]);
  expect(supervisor.status()).toEqual([]);
  await ask(worker);
  const [status] = supervisor.status();
  expect(status).toMatchObject({ workers: ["sample"], version: worker.version.id, state: "warm" });
  expect(status?.memoryBytes).toBeGreaterThan(1024 * 1024);
  expect(status?.cpuMs).toBeGreaterThanOrEqual(0);
});

test("supervisor: an idle cell is stopped, and the next request starts it again", async () => {
  const worker = says("hello");
  await supervisor.apply([worker]);
  await ask(worker);
  // The first look only notes the CPU clock.
  clock.advance(LIMITS.cellLookMs);
  await waitFor(async () => {
    clock.advance(LIMITS.idleMs);
    expect(routes.published.has(worker.key)).toBe(false);
  });
  await waitFor(() => expect(openServices).toBe(0));
  expect(supervisor.ends).toEqual({ cellFaults: [], cellEnds: { idle: 1 } });
  expect(await routes.ask(worker.key, supervisor)).toMatchObject({ body: "hello", isCold: true });
});

test("supervisor: a newer state replaces the one that waits", async () => {
  const first = supervisor.apply([says("1")]);
  const second = supervisor.apply([says("2")]);
  const third = supervisor.apply([says("3")]);
  await expect(second).rejects.toMatchObject({ code: "superseded" });
  await Promise.all([first, third]);
  expect(await ask(says(""))).toBe("3");
});

test("supervisor: workers bound to each other share a cell and call each other", async () => {
  const callee = sampleModule(
    `import { WorkerEntrypoint } from "cloudflare:workers";
     export class Sum extends WorkerEntrypoint { add(a, b) { return a + b + this.ctx.props.bonus; } }
     export default { fetch() { return new Response("callee"); } };`,
    { name: "callee" },
  );
  const caller = sampleModule(
    `export default { async fetch(request, env) {
       const text = await (await env.CALLEE.fetch(request)).text();
       return new Response(text + (await env.SUM.add(1, 2)));
     } };`,
    {
      name: "caller",
      bindings: [
        { type: "service", name: "CALLEE", service: callee.name },
        {
          type: "service",
          name: "SUM",
          service: callee.name,
          entrypoint: "Sum",
          props: { bonus: 10 },
        },
      ],
    },
  );
  expect(await supervisor.apply([caller, callee])).toEqual([]);
  expect(await ask(caller)).toBe("callee13");
  expect(supervisor.status()).toMatchObject([{ workers: ["callee", "caller"] }]);
  expect(await ask(callee)).toBe("callee");
});

test("supervisor: in a shared cell a broken worker holds back nobody else", async () => {
  const shared = { settings: { cells: "shared" } } as const;
  const [a, b] = [says("a", { name: "a", ...shared }), says("b", { name: "b", ...shared })];
  expect(await supervisor.apply([a, b])).toEqual([]);
  expect(await Promise.all([ask(a), ask(b)])).toEqual(["a", "b"]);
  expect(supervisor.status()).toMatchObject([{ workers: ["a", "b"] }]);
  const broken = sampleModule(`throw new Error("broken");`, { name: "a", ...shared });
  const [changed, added] = [
    says("changed", { name: "b", ...shared }),
    says("added", { name: "c", ...shared }),
  ];
  const failures = await supervisor.apply([broken, changed, added]);
  expect(failures).toMatchObject([{ worker: a.key, version: broken.version.id }]);
  expect(await Promise.all([ask(a), ask(b), ask(added)])).toEqual(["a", "changed", "added"]);
  // Mended, they are together again.
  const mended = says("mended", { name: "a", ...shared });
  expect(await supervisor.apply([mended, changed, added])).toEqual([]);
  expect(await Promise.all([ask(a), ask(b), ask(added)])).toEqual(["mended", "changed", "added"]);
  await waitFor(() => expect(supervisor.status()).toMatchObject([{ workers: ["a", "b", "c"] }]));
});

test("supervisor: in a cold shared cell a broken worker fails nobody else", async () => {
  const shared = { settings: { cells: "shared" } } as const;
  const [b, c] = [says("b", { name: "b", ...shared }), says("c", { name: "c", ...shared })];
  const broken = sampleModule(`throw new Error("broken");`, { name: "a", ...shared });
  // Nobody has used any of them, so nothing is started before the first request.
  expect(await supervisor.apply([broken, b, c])).toEqual([]);
  const answers = await Promise.all([ask(b), ask(c), ask(b)]);
  expect(answers).toEqual(["b", "c", "b"]);
  await expect(ask(broken)).rejects.toMatchObject({ code: "cell_failed" });
  const pids = (): ReadonlyArray<number> => supervisor.status().map(({ pid }) => pid);
  const before = pids();
  expect(supervisor.status().map(({ workers }) => workers)).toEqual([["b"], ["c"]]);
  // A deploy of others changes nothing, also when all of them are cold.
  expect(await supervisor.apply([broken, b, c, says("new", { name: "new" })])).toEqual([]);
  expect(pids()).toEqual(expect.arrayContaining([...before]));
  expect(await ask(b)).toBe("b");
  // Mended, they are together again.
  const mended = says("mended", { name: "a", ...shared });
  expect(await supervisor.apply([mended, b, c])).toEqual([]);
  expect(await Promise.all([ask(mended), ask(b), ask(c)])).toEqual(["mended", "b", "c"]);
  await waitFor(() => expect(supervisor.status()).toMatchObject([{ workers: ["a", "b", "c"] }]));
});

test("supervisor: who shares a cell that keeps dying does not rest with it", async () => {
  const shared = { settings: { cells: "shared" } } as const;
  const [a, b] = [says("a", { name: "a", ...shared }), says("b", { name: "b", ...shared })];
  await supervisor.apply([a, b]);
  const together = (): boolean => supervisor.status()[0]?.workers.length === 2;
  let deaths = 0;
  for (; deaths < 20; deaths += 1) {
    // Each death doubles its rest, until the next one that asks would have to be refused.
    await supervisor.activate(a.key);
    if (!together()) break;
    await killCell("a");
  }
  expect(deaths).toBeGreaterThan(2);
  expect(await ask(b)).toBe("b");
  expect(supervisor.status()).toMatchObject([{ workers: ["a"] }, { workers: ["b"] }]);
});

test("supervisor: a start that is under way when it is disposed leaves nothing", async () => {
  const worker = says("hello");
  await supervisor.apply([worker]);
  const activation = supervisor.activate(worker.key).catch((error: unknown) => error);
  await Promise.all([supervisor.dispose(), supervisor.dispose()]);
  expect(await activation).toMatchObject({ code: "worker_unknown" });
  expect(supervisor.status()).toEqual([]);
  await expect(supervisor.apply([worker])).rejects.toMatchObject({ code: "closed" });
});

function pidOf(worker: string): number {
  const found = supervisor.status().find((status) => status.workers[0] === worker);
  if (found === undefined) throw new Error(`${worker} has no cell`);
  return found.pid;
}

/** Kills a worker's cell; resolves when its process is gone. */
async function killCell(worker: string): Promise<void> {
  const pid = pidOf(worker);
  process.kill(pid, "SIGKILL");
  await waitFor(async () => expect(await readStartTicks(pid)).toBeUndefined());
}

test("supervisor: a worker counts as watched when requests go to the cell that tells", async () => {
  const worker = says("watched");
  await supervisor.apply([worker]);
  await ask(worker);
  const [own] = routes.published.get(worker.key) ?? [];
  const { promise: settling, resolve: settle } = Promise.withResolvers<void>();
  routes.settling = settling;
  let isWatched = false;
  const watching = supervisor.watched.watch(new Set([worker.key])).then(() => (isWatched = true));
  await waitFor(() => expect(routes.published.get(worker.key)).not.toEqual([own]));
  await new Promise(setImmediate);
  expect(isWatched).toBe(false);
  settle();
  await watching;
  await supervisor.watched.watch(new Set());
});
