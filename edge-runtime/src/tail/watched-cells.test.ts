import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import {
  TailEvent,
  type Tail,
  type TailFilter,
  type TailNews,
} from "@atoll/control-plane/contract";
import { systemClock } from "@atoll/kv-store";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sampleServices } from "../cells/sample-services.ts";
import { SampleSupervisor } from "../cells/sample-supervisor.ts";
import { makeTestDirectory } from "../cells/test-directory.ts";
import { sampleModule, sampleWorker, type SampleWorker } from "../config/sample-version.ts";
import { LIMITS } from "../limits.ts";
import { ScheduledCaller } from "../scheduled/scheduled-caller.ts";
import { NodeTails } from "./node-tails.ts";
import { TailCapabilities } from "./tail-capabilities.ts";
import { TailServer } from "./tail-server.ts";

const log = pino({ level: "silent" });

const SOURCE = `const kept = [];
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/throw") { console.error("before", { at: 1 }); throw new TypeError("thrown"); }
    if (pathname === "/loop") for (;;) {}
    if (pathname === "/grow") for (;;) kept.push(new Uint8Array(1_000_000).fill(1));
    if (pathname === "/other") return env.OTHER.fetch("http://other/inner");
    console.log("at", pathname);
    return new Response("served", { status: 201 });
  },
  scheduled({ cron }) {
    console.log("scheduled");
    if (cron === "loop") for (;;) {}
  },
};`;

let directory: string;
let clock: ManualClock;
let sample: SampleSupervisor;
let tails: NodeTails;
let server: TailServer;
let news: TailNews[];
let followed: string[];
let bufferedBytes: number;

beforeEach(async () => {
  directory = await makeTestDirectory("atoll-tails-");
  clock = new ManualClock();
  [news, followed, bufferedBytes] = [[], [], 0];
  const capabilities = new TailCapabilities(new Uint8Array(32));
  const socketPath = join(directory, "tail.sock");
  const nowhere = join(directory, "nowhere.sock");
  const sockets = { "kv.sock": nowhere, "egress.sock": nowhere, "cache.sock": nowhere };
  sample = await SampleSupervisor.open({
    clock,
    services: {
      open: async ({ isWatched }) =>
        sampleServices({ ...sockets, ...(isWatched ? { "tail.sock": socketPath } : {}) }),
    },
    tailCapability: ({ key, version }) => capabilities.of({ worker: key, version: version.id }),
    onSkipped: (worker, count) => tails.skipped(worker, count),
    onFailure: (failure) => tails.failed(failure),
  });
  const { supervisor } = sample;
  tails = new NodeTails({
    watch: (workers) => supervisor.watched.watch(workers),
    onTold: (worker, count) => supervisor.watched.noteTold(worker, count),
    versionOf: (worker) => supervisor.versionOf(worker)?.id,
    random: () => 0.5,
    clock: systemClock,
    log,
  });
  tails.connected({
    followed: (ids) => (followed = [...ids]),
    news: (more) => news.push(more),
    bufferedBytes: () => bufferedBytes,
  });
  server = await TailServer.listen({
    socketPath,
    resolveCapability: (capability) => capabilities.resolve(capability),
    onEvents: (source, told) => tails.receive(source, told),
    log,
  });
});

afterEach(async () => {
  await sample.close();
  await server.close();
  await rm(directory, { recursive: true, force: true });
});

function tailOf(worker: SampleWorker, ...filters: TailFilter[]): Tail {
  return { id: randomUUID(), worker: worker.key, filters };
}

function events(tail?: Tail): ReadonlyArray<TailEvent> {
  return news
    .flatMap((each) => each.events)
    .filter(({ tails: ids }) => tail === undefined || ids.includes(tail.id))
    .map(({ json }) => TailEvent.parse(JSON.parse(json)));
}

function dropped(): number {
  return news.flatMap((each) => each.dropped).reduce((sum, { count }) => sum + count, 0);
}

/** Resolves with the events when there are so many. */
async function told(count: number): Promise<ReadonlyArray<TailEvent>> {
  await waitFor(() => expect(events().length).toBeGreaterThanOrEqual(count));
  expect(events()).toHaveLength(count);
  return events();
}

function pids(): ReadonlyArray<number> {
  return sample.supervisor.status().map(({ pid }) => pid);
}

describe("watched cells: ", () => {
  test("tell requests with what was logged and thrown, and stop when nobody watches", async () => {
    const worker = sampleModule(SOURCE);
    await sample.run(worker);
    await sample.ask("sample", "/before");
    const [own] = pids();
    const tail = tailOf(worker);
    await tails.follow([tail]);
    expect(followed).toEqual([tail.id]);
    expect(pids()).toHaveLength(2);
    await sample.ask("sample", "/here");
    await sample.ask("sample", "/throw");
    const [first, second] = await told(2);
    expect(first).toMatchObject({
      scriptName: "sample",
      scriptVersion: { id: worker.version.id },
      outcome: "ok",
      event: {
        request: { url: "http://sample.localhost/here", method: "GET" },
        response: { status: 201 },
      },
      logs: [{ level: "log", message: ["at", "/here"] }],
      exceptions: [],
    });
    expect(second).toMatchObject({
      outcome: "exception",
      logs: [{ level: "error", message: ["before", { at: 1 }] }],
      exceptions: [{ name: "TypeError", message: "thrown" }],
    });
    await tails.follow([]);
    expect(followed).toEqual([]);
    await waitFor(() => expect(pids()).toEqual([own]));
    await sample.ask("sample", "/after");
    expect(events()).toHaveLength(2);
  });

  test("tell requests that publish what JSON can't hold", async () => {
    const worker = sampleModule(
      `import { channel } from "node:diagnostics_channel";
      export default { fetch() {
        const cycle = {};
        cycle.own = cycle;
        for (const message of [{ at: 1n, on: true }, cycle, "plain"]) channel("told").publish(message);
        console.log("published");
        return new Response("served");
      } };`,
      { compatibilityFlags: ["nodejs_compat"] },
    );
    await sample.run(worker);
    await tails.follow([tailOf(worker)]);
    await sample.ask("sample", "/");
    const channel = { channel: "told" };
    expect((await told(1))[0]).toMatchObject({
      outcome: "ok",
      logs: [{ message: ["published"] }],
      diagnosticsChannelEvents: [
        { ...channel, message: { at: "1", on: true } },
        { ...channel, message: "[circular]" },
        { ...channel, message: "plain" },
      ],
    });
  });

  test("of a service-worker tell as well", async () => {
    const worker = sampleWorker({
      script: `addEventListener("fetch", (event) => {
        console.warn("old"); event.respondWith(new Response("served")); });`,
    });
    await sample.run(worker);
    await tails.follow([tailOf(worker)]);
    await sample.ask("sample", "/");
    expect((await told(1))[0]).toMatchObject({ outcome: "ok", logs: [{ message: ["old"] }] });
  });

  test("hide what identifies callers, and are filtered by it all the same", async () => {
    const worker = sampleModule(SOURCE);
    await sample.run(worker);
    const [fitting, other] = [
      tailOf(worker, { header: { key: "x-secret-word", query: "open" } }),
      tailOf(worker, { header: { key: "x-secret-word", query: "shut" } }),
    ];
    await tails.follow([fitting, other]);
    await sample.ask("sample", "/", { "x-secret-word": "open sesame" });
    await waitFor(() => expect(events(fitting)).toHaveLength(1));
    expect(events(fitting)[0]?.event).toMatchObject({
      request: { headers: { "x-secret-word": "REDACTED" } },
    });
    expect(JSON.stringify(news)).not.toContain("sesame");
    expect(events(other)).toEqual([]);
  });

  test("follow a deploy: the new version is told of, the old one drains", async () => {
    const before = sampleModule(SOURCE);
    await sample.run(before);
    await tails.follow([tailOf(before)]);
    await sample.ask("sample", "/one");
    const after = sampleModule(SOURCE);
    await sample.run(after);
    await tails.follow([tailOf(after)]);
    await sample.ask("sample", "/two");
    const all = await told(2);
    expect(all.map(({ scriptVersion }) => scriptVersion.id)).toEqual([
      before.version.id,
      after.version.id,
    ]);
  });

  test("tell what a worker is called for by others, and only what is watched", async () => {
    const other = sampleModule(SOURCE, { name: "other" });
    const bindings = [{ type: "service", name: "OTHER", service: other.name } as const];
    const caller = sampleModule(SOURCE, { name: "caller", bindings });
    await sample.run(caller, other);
    await tails.follow([tailOf(other)]);
    expect((await sample.ask("caller", "/other")).status).toBe(201);
    expect((await told(1))[0]).toMatchObject({ scriptName: "other" });
  });

  test("tell scheduled events", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await sample.run(worker);
    await tails.follow([tailOf(worker)]);
    const caller = new ScheduledCaller({
      supervisor: sample.supervisor,
      onServed: () => undefined,
      onLost: (call, outcome) => tails.lostSchedule(call, outcome),
    });
    await caller.call({ worker: worker.key, cron: "* * * * *", scheduledMs: 1_000 });
    expect((await told(1))[0]).toMatchObject({
      outcome: "ok",
      event: { cron: "* * * * *", scheduledTime: 1_000 },
      logs: [{ message: ["scheduled"] }],
    });
    await caller.call({ worker: worker.key, cron: "loop", scheduledMs: 2_000 });
    expect((await told(2))[1]).toMatchObject({
      outcome: "exceededCpu",
      event: { cron: "loop", scheduledTime: 2_000 },
    });
  });

  test("tell of requests that are refused for the day's quota, and why", async () => {
    const worker = sampleModule(SOURCE);
    await sample.run(worker);
    await tails.follow([tailOf(worker, { outcome: ["unknown"] })]);
    sample.ingress.refuse(new Set([worker.key]));
    expect((await sample.ask("sample", "/refused")).status).toBe(429);
    expect((await told(1))[0]).toMatchObject({
      outcome: "unknown",
      event: { request: { url: "http://sample.localhost/refused", method: "GET" } },
      exceptions: [{ name: "Error", message: expect.stringContaining("Daily limit exceeded") }],
    });
  });

  test.each([
    ["/loop", "exceededCpu"],
    ["/grow", "exceededMemory"],
  ])("are ended at %s, and the request is told as %s", async (path, outcome) => {
    const worker = sampleModule(SOURCE);
    await sample.run(worker);
    await tails.follow([tailOf(worker)]);
    expect((await sample.ask("sample", path)).status).toBe(503);
    expect((await told(1))[0]).toMatchObject({
      outcome,
      event: { request: { url: `http://sample.localhost${path}`, method: "GET" } },
      logs: [],
      exceptions: [],
    });
    // Its cells come back, and tell.
    clock.advance(LIMITS.tailLookMs);
    await waitFor(async () => {
      await sample.ask("sample", "/again");
      expect(events().length).toBeGreaterThan(1);
    });
  });

  test("rest when they tell too much, are counted meanwhile, and tell again", async () => {
    const worker = sampleModule(SOURCE);
    await sample.run(worker);
    await tails.follow([tailOf(worker)]);
    const flood = async (requests: number): Promise<void> => {
      for (let round = 0; round < requests / 50; round += 1) {
        const asked = Array.from({ length: 50 }, () => sample.ask("sample", "/"));
        for (const { status } of await Promise.all(asked)) expect(status).toBe(201);
      }
    };
    await flood(LIMITS.tailEventsPerLook + 100);
    await waitFor(() => expect(pids()).toHaveLength(2));
    const before = events().length;
    await waitFor(async () => {
      const seen = events().length;
      await sample.ask("sample", "/");
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(events()).toHaveLength(seen);
    });
    await flood(100);
    expect(events().length).toBeLessThan(before + 100);
    clock.advance(LIMITS.tailLookMs);
    await waitFor(() => expect(dropped()).toBeGreaterThanOrEqual(100));
    const seen = events().length;
    await sample.ask("sample", "/again");
    await waitFor(() => expect(events().length).toBeGreaterThan(seen));
  });

  test("are not waited for by a link that is behind, and what is dropped is counted", async () => {
    const worker = sampleModule(SOURCE);
    await sample.run(worker);
    await tails.follow([tailOf(worker)]);
    bufferedBytes = LIMITS.tailLinkBytesMax + 1;
    await sample.ask("sample", "/");
    await waitFor(() => expect(dropped()).toBe(1));
    expect(events()).toEqual([]);
  });

  test("end with the connection to who asked", async () => {
    const worker = sampleModule(SOURCE);
    await sample.run(worker);
    await tails.follow([tailOf(worker)]);
    expect(pids()).not.toEqual([]);
    const watching = pids().length;
    tails.disconnected();
    await waitFor(() => expect(pids().length).toBeLessThan(watching));
  });

  test("of a worker that does not start are no reason to fail", async () => {
    const worker = sampleModule("throw new Error('never starts');");
    await sample.run(worker);
    const tail = tailOf(worker);
    await tails.follow([tail]);
    expect(followed).toEqual([tail.id]);
    expect((await sample.ask("sample", "/")).status).toBeGreaterThanOrEqual(500);
  });
});

describe("tail server: ", () => {
  async function post(capability: string, body: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          socketPath: server.socketPath,
          method: "POST",
          headers: { "x-atoll-tail": capability },
          agent: false,
        },
        (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        },
      );
      sent.on("error", reject);
      sent.end(body);
    });
  }

  test("believes nobody who was not given a capability, and nothing of another form", async () => {
    const capabilities = new TailCapabilities(new Uint8Array(32));
    const { key, version } = sampleModule(SOURCE);
    const good = capabilities.of({ worker: key, version: version.id });
    expect(await post("", "{}")).toBe(403);
    expect(await post(good.replace("sample", "other"), "{}")).toBe(403);
    expect(await post(good, "no JSON")).toBe(400);
    expect(await post(good, '{"dropped":0,"events":[{"outcome":1}]}')).toBe(400);
    expect(await post(good, " ".repeat(LIMITS.tailBodyBytesMax + 1))).toBe(413);
    expect(await post(good, '{"dropped":0,"events":[]}')).toBe(204);
  });
});
