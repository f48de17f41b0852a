import { WorkerKey, type ScheduledEvent } from "@atoll/control-plane/contract";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SampleSupervisor } from "../cells/sample-supervisor.ts";
import { sampleModule, sampleWorker, type SampleWorker } from "../config/sample-version.ts";
import type { ServedRequest } from "../ingress/ingress.ts";
import { versionTarget } from "../ingress/target-key.ts";
import { ScheduledCaller } from "./scheduled-caller.ts";

const SOURCE = `
let seen;
export default {
  fetch: () => Response.json(seen ?? null),
  async scheduled(controller, env, context) {
    const { cron, scheduledTime } = controller;
    if (cron === "throw") throw new Error("thrown");
    if (cron === "final") { controller.noRetry(); throw new Error("thrown"); }
    if (cron === "loop") for (;;) {}
    if (cron === "wait") await scheduler.wait(60_000);
    if (cron === "later") context.waitUntil(scheduler.wait(200).then(() => { seen = "later"; }));
    else seen = { cron, scheduledTime };
  },
};`;
const SCHEDULED_MS = Date.UTC(2026, 10, 20, 12);

let supervisor: SampleSupervisor;
let served: ServedRequest[];
beforeEach(async () => {
  supervisor = await SampleSupervisor.open();
  served = [];
});
afterEach(() => supervisor.close());

function call(worker: SampleWorker["key"], cron: string, timeoutMs?: number) {
  const event: Omit<ScheduledEvent, "run"> = { worker, cron, scheduledMs: SCHEDULED_MS };
  const caller = new ScheduledCaller({
    supervisor: supervisor.supervisor,
    onServed: (request) => served.push(request),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  return caller.call(event);
}

describe("scheduled caller: ", () => {
  test("calls a cold worker with what it was scheduled for, and counts it as a request", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await supervisor.run(worker);
    const end = await call(worker.key, "*/5 * * * *");
    expect(end).toMatchObject({ outcome: "ok", isFinal: false });
    const { body } = await supervisor.ask("sample", "/");
    expect(JSON.parse(body)).toEqual({ cron: "*/5 * * * *", scheduledTime: SCHEDULED_MS });
    expect(served).toMatchObject([
      { worker: worker.key, status: 200, bytesIn: 0, bytesOut: 0, wallMs: end.wallMs },
    ]);
  });

  test("calls no worker whose account has used up its day, tells so, and counts nothing", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await supervisor.run(worker);
    const lost: unknown[] = [];
    const caller = new ScheduledCaller({
      supervisor: supervisor.supervisor,
      isRefused: (key) => key === worker.key,
      onServed: (request) => served.push(request),
      onLost: (_, outcome) => lost.push(outcome),
    });
    const call = { worker: worker.key, cron: "* * * * *", scheduledMs: SCHEDULED_MS };
    const outcome = "dayQuotaExceeded";
    expect(await caller.call(call)).toEqual({ outcome, isFinal: true, wallMs: 0 });
    expect([served, lost]).toEqual([[], [outcome]]);
  });

  test("asks which version a call goes to, by a name that each attempt has", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await supervisor.run(worker);
    const names: string[] = [];
    const caller = new ScheduledCaller({
      supervisor: supervisor.supervisor,
      targetOf: (key, name) => {
        names.push(name);
        return versionTarget(key, worker.version.id);
      },
      onServed: (request) => served.push(request),
    });
    for (const cron of ["1 * * * *", "1 * * * *", "2 * * * *"]) {
      const call = { worker: worker.key, cron, scheduledMs: SCHEDULED_MS };
      expect(await caller.call(call)).toMatchObject({ outcome: "ok" });
    }
    expect([names[0] === names[1], names[0] === names[2]]).toEqual([true, false]);
  });

  test("waits for what the worker waits for", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await supervisor.run(worker);
    const { outcome, wallMs } = await call(worker.key, "later");
    expect(outcome).toBe("ok");
    expect(wallMs).toBeGreaterThanOrEqual(199);
    expect((await supervisor.ask("sample", "/")).body).toBe('"later"');
  });

  test("tells an exception, and whether there is to be another attempt", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await supervisor.run(worker);
    expect(await call(worker.key, "throw")).toMatchObject({ outcome: "exception", isFinal: false });
    expect(await call(worker.key, "final")).toMatchObject({ outcome: "exception", isFinal: true });
    expect(served.map(({ status }) => status)).toEqual([500, 500]);
  });

  test("a worker without the handler has an exception that no attempt changes", async () => {
    const worker = sampleModule("export default { fetch: () => new Response() };", {
      isScheduled: true,
    });
    await supervisor.run(worker);
    expect(await call(worker.key, "* * * * *")).toMatchObject({
      outcome: "exception",
      isFinal: true,
    });
  });

  test("a loop is ended by the limit of CPU time, and says so", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await supervisor.run(worker);
    expect(await call(worker.key, "loop")).toMatchObject({ outcome: "exceededCpu" });
    expect(served.map(({ status }) => status)).toEqual([500]);
  });

  test("what takes longer than it may is given up", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await supervisor.run(worker);
    await call(worker.key, "warm");
    expect(await call(worker.key, "wait", 300)).toMatchObject({ outcome: "exceededTime" });
  });

  test("a cell that is killed is told as lost", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await supervisor.run(worker);
    await call(worker.key, "warm");
    const waiting = call(worker.key, "wait");
    const [cell] = supervisor.supervisor.status();
    await expect
      .poll(async () => {
        const warm = await supervisor.supervisor.cellFor(worker.key);
        return warm.events.counts.inFlight;
      })
      .toBe(1);
    process.kill(cell?.pid ?? 0, "SIGKILL");
    expect(await waiting).toMatchObject({ outcome: "cellLost" });
  });

  test("a worker that starts in no cell, is not here, or has no trigger is unavailable", async () => {
    const plain = sampleModule(SOURCE, { name: "plain" });
    const site = sampleWorker({
      name: "broken",
      modules: [{ name: "index.js", kind: "esm", content: "throw new Error('no')" }],
      isScheduled: true,
    });
    await supervisor.run(plain, site);
    const nobody = WorkerKey.parse(plain.key.replace("plain", "nobody"));
    for (const key of [plain.key, site.key, nobody]) {
      expect(await call(key, "* * * * *")).toMatchObject({ outcome: "unavailable" });
    }
    expect(served).toEqual([]);
  });

  test("a new version takes over when the call has ended on the old one", async () => {
    const worker = sampleModule(SOURCE, { isScheduled: true });
    await supervisor.run(worker);
    await call(worker.key, "warm");
    const later = call(worker.key, "later");
    await supervisor.run(sampleModule(SOURCE, { isScheduled: true }));
    expect(await later).toMatchObject({ outcome: "ok" });
  });
});
