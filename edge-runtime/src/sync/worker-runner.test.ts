import { DesiredWorker, VersionId, type WorkerFailure } from "@atoll/control-plane/contract";
import { NamespaceId, type Clock } from "@atoll/kv-store";
import { pino } from "pino";
import { beforeEach, describe, expect, test } from "vitest";
import type { PreparedWorker } from "../cells/prepared-worker.ts";
import type { Split } from "../ingress/split.ts";
import { previewTarget } from "../ingress/target-key.ts";
import { LIMITS } from "../limits.ts";
import { KvCapabilities } from "./kv-capabilities.ts";
import { workerKey } from "./state-follower.ts";
import type { WorkerPreparer } from "./worker-preparer.ts";
import { WorkerRunner } from "./worker-runner.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));

function worker(name: string, version = 1): DesiredWorker {
  return DesiredWorker.parse({
    account: "0".repeat(32),
    name,
    routes: [`${name}.localhost/*`],
    versions: [
      {
        percentage: 100,
        version: {
          id: `00000000-0000-4000-8000-00000000000${version}`,
          number: version,
          createdAt: "2026-11-01T00:00:00Z",
          code: { kind: "none" },
          compatibilityDate: "2026-01-01",
          compatibilityFlags: [],
          bindings: [{ type: "kv_namespace", name: "KV", namespace_id: NAMESPACE }],
        },
      },
    ],
  });
}

describe("worker runner", () => {
  /** What happened, in order. */
  let events: string[];
  let applied: ReadonlyArray<PreparedWorker>;
  let gated: ReadonlyArray<string>;
  let splits: ReadonlyArray<Split>;
  let previewHosts: ReadonlyMap<string, string>;
  let unpreparable: Set<string>;
  let unstartable: Set<string>;
  let nowMs: number;
  let tick: () => void;
  let runner: WorkerRunner;
  const capabilities = new KvCapabilities(Buffer.alloc(32));

  beforeEach(() => {
    events = [];
    unpreparable = new Set();
    unstartable = new Set();
    nowMs = 0;
    const clock: Clock = {
      nowMs: () => 0,
      monotonicMs: () => nowMs,
      every: (_, callback) => {
        tick = callback;
        return () => undefined;
      },
    };
    const describeWorkers = (workers: ReadonlyArray<PreparedWorker>): string =>
      workers.map(({ name, version }) => `${name}@${version.number}`).join(" ");
    const preparer: Pick<WorkerPreparer, "prepare" | "prune"> = {
      prepare: async (wanted, { version }) => {
        if (unpreparable.has(wanted.name)) throw new Error("no blob");
        events.push(`prepare ${wanted.name}@${version.number}`);
        const { account, name, settings } = wanted;
        const readBlob = (): Promise<Uint8Array> => Promise.resolve(new Uint8Array());
        return { key: workerKey(wanted), account, name, settings, version, secrets: {}, readBlob };
      },
      prune: async (...kept) => {
        const names = kept
          .flat()
          .map(({ name, versions }) => `${name}@${versions[0]?.version.number}`);
        events.push(`prune all but ${names.join(" ")}`);
      },
    };
    runner = new WorkerRunner({
      preparer,
      supervisor: {
        apply: async (workers): Promise<ReadonlyArray<WorkerFailure>> => {
          events.push(`apply ${describeWorkers(workers)}`);
          applied = workers;
          return workers
            .filter(({ name }) => unstartable.has(name))
            .map(({ key, version }) => ({ worker: key, version: version.id, reason: "throws" }));
        },
      },
      ingress: {
        setRoutes: (routes, routing) => {
          events.push(`routes ${routes.map(({ pattern }) => pattern).join(" ")}`);
          splits = routing?.splits ?? [];
          previewHosts = routing?.previewHosts ?? new Map();
        },
      },
      dayGate: {
        setWorkers: (workers) => {
          gated = workers.map(({ name }) => name);
        },
      },
      capabilities,
      hold: async (namespaces) => {
        events.push(`hold ${new Set(namespaces).size}`);
      },
      clock,
      log: pino({ level: "silent" }),
    });
  });

  test("prepares, holds data, starts, then routes", async () => {
    expect(await runner.run([worker("a")])).toEqual([]);
    expect(events).toEqual(["prepare a@1", "hold 1", "apply a@1", "routes a.localhost/*"]);
    expect(gated).toEqual(["a"]);
    const version = VersionId.parse("11111111-1111-4111-8111-111111111111");
    const caller = { worker: workerKey(worker("a")), version };
    const granted = capabilities.of(caller, NAMESPACE);
    const notGranted = capabilities.of({ worker: workerKey(worker("b")), version }, NAMESPACE);
    expect(capabilities.resolve(granted)).toBe(NAMESPACE);
    expect(capabilities.callerOf(granted)).toEqual(caller);
    expect(capabilities.resolve(notGranted)).toBeUndefined();
    expect(capabilities.callerOf(notGranted)).toBeUndefined();
  });

  test("prepares a version once, however often the others change", async () => {
    await runner.run([worker("a"), worker("b")]);
    events = [];
    await runner.run([worker("a"), worker("b", 2)]);
    expect(events.filter((event) => event.startsWith("prepare"))).toEqual(["prepare b@2"]);
    expect(events).toContain("apply a@1 b@2");
  });

  test("two versions of a worker are prepared once each, and its requests split", async () => {
    await runner.run([worker("a", 1)]);
    events = [];
    const [older, newer] = [worker("a", 1), worker("a", 2)].flatMap(({ versions }) => versions);
    if (older === undefined || newer === undefined) throw new Error("a worker has no version");
    const share = (percentage: number): DesiredWorker => ({
      ...worker("a"),
      versions: [
        { ...newer, percentage },
        { ...older, percentage: 100 - percentage },
      ],
    });
    const key = workerKey(worker("a"));
    const shareOfOther = (): number | undefined => applied[0]?.other?.share;
    const roles = (): unknown => applied.map(({ version, role }) => [version.number, role]);
    await runner.run([share(10)]);
    expect(events.slice(0, 2).toSorted()).toEqual(["hold 1", "prepare a@2"]);
    expect(events.slice(2)).toEqual(["apply a@1 a@2", "routes a.localhost/*"]);
    expect(roles()).toEqual([
      [1, "main"],
      [2, "other"],
    ]);
    expect(splits).toEqual([
      {
        worker: workerKey(worker("a")),
        versions: [
          { id: newer.version.id, percentage: 10 },
          { id: older.version.id, percentage: 90 },
        ],
      },
    ]);
    expect(shareOfOther()).toBe(100_000);
    await runner.run([share(90)]);
    expect(shareOfOther()).toBe(100_000);
    const goes = Array.from({ length: 1_000 }, (_, index) => {
      expect(runner.targetOf(key, `${index}`)).toBe(runner.targetOf(key, `${index}`));
      return runner.targetOf(key, `${index}`);
    });
    const toNewer = goes.filter((target) => target === `${key}@${newer.version.id}`).length;
    expect([toNewer > 850, toNewer < 950]).toEqual([true, true]);
    await runner.run([share(0)]);
    expect(shareOfOther()).toBeUndefined();
    await runner.run([share(90)]);
    expect(roles()).toEqual([
      [2, "main"],
      [1, "other"],
    ]);
    await runner.run([worker("a", 2)]);
    expect(roles()).toEqual([[2, "only"]]);
    expect(splits).toEqual([]);
    expect([shareOfOther(), runner.targetOf(key, "0")]).toEqual([undefined, key]);
    expect(events.filter((event) => event.startsWith("prepare"))).toEqual(["prepare a@2"]);
  });

  test("a worker one of whose versions does not start keeps the routes and shares that it had", async () => {
    await runner.run([worker("a", 1)]);
    unstartable.add("a");
    const versions = [worker("a", 1), worker("a", 2)].flatMap((each) => each.versions);
    const split = versions.map((version) => ({ ...version, percentage: 50 }));
    const failures = await runner.run([{ ...worker("a"), versions: split }]);
    expect(failures).toHaveLength(2);
    expect(splits).toEqual([]);
    expect(events.at(-1)).toBe("routes a.localhost/*");
  });

  /** Version 2 of a worker, as a preview has it. */
  function preview(name: string, version = 2): DesiredWorker {
    return { ...worker(name, version), routes: [] };
  }

  test("a preview runs beside what serves, until its worker has none any more", async () => {
    const shown = (version: number): DesiredWorker => ({
      ...worker("a", version),
      previewHost: "a.localhost",
    });
    await expect(runner.openPreview(preview("a"))).rejects.toMatchObject({
      code: "preview_unknown",
    });
    await runner.run([shown(1)]);
    expect(await runner.openPreview(worker("a", 1))).toBe(workerKey(worker("a")));
    events = [];
    const opened = await Promise.all([1, 2, 3].map(() => runner.openPreview(preview("a"))));
    const id = worker("a", 2).versions[0]?.version.id ?? "";
    expect(new Set(opened)).toEqual(new Set([previewTarget(workerKey(worker("a")), id)]));
    expect(events).toEqual(["prepare a@2", "hold 1", "apply a@1 a@2"]);
    expect(applied.map(({ role }) => role)).toEqual(["only", "preview"]);
    // What others deploy leaves it alone; what itself is deployed is no preview any more.
    await runner.run([shown(1), worker("b")]);
    expect(events).toContain("apply a@1 b@1 a@2");
    await runner.run([shown(2)]);
    expect(events).toContain("apply a@2");
    expect(await runner.openPreview(preview("a"))).toBe(workerKey(worker("a")));
    await runner.run([shown(1)]);
    await runner.openPreview(preview("a"));
    await runner.run([worker("a", 1)]);
    expect(events.filter((event) => event.startsWith("apply")).at(-1)).toBe("apply a@1");
    expect(previewHosts).toEqual(new Map());
  });

  test("a preview has what its worker is granted now, and is heard by who hears of it now", async () => {
    const shown = { ...worker("a", 1), previewHost: "a.localhost" };
    await runner.run([{ ...shown, tailConsumers: [worker("heard").name] }]);
    await runner.openPreview({ ...preview("a"), tailConsumers: [worker("heard").name] });
    const settings = { ...shown.settings, memoryMib: 64 };
    await runner.run([{ ...shown, settings, tailConsumers: [] }]);
    expect(applied.map(({ role }) => role)).toEqual(["only", "preview"]);
    for (const each of applied) expect(each).toMatchObject({ settings, tailConsumers: [] });
    await runner.openPreview(preview("a", 3));
    expect(applied.map(({ role }) => role)).toEqual(["only", "preview", "preview"]);
    for (const each of applied) expect(each).toMatchObject({ settings, tailConsumers: [] });
  });

  test("previews are bounded: the one that was not asked for longest goes", async () => {
    const shown = { ...worker("a", 1), previewHost: "a.localhost" };
    await runner.run([shown]);
    const [deployed] = worker("a", 2).versions;
    if (deployed === undefined) throw new Error("a worker has no version");
    const numbered = (number: number): DesiredWorker => {
      const id = VersionId.parse(`10000000-0000-4000-8000-${String(number).padStart(12, "0")}`);
      const version = { ...deployed.version, id, number };
      return { ...preview("a"), versions: [{ ...deployed, version }] };
    };
    for (let number = 2; number < LIMITS.previewVersionsMax + 2; number += 1) {
      await runner.openPreview(numbered(number));
    }
    await runner.openPreview(numbered(2));
    await runner.openPreview(numbered(1_000));
    const numbers = applied.map(({ version }) => version.number);
    expect(numbers).toHaveLength(1 + LIMITS.previewVersionsMax);
    expect([numbers.includes(2), numbers.includes(3)]).toEqual([true, false]);
  });

  test("new settings of an account reach its workers without preparing them anew", async () => {
    await runner.run([worker("a")]);
    events = [];
    await runner.run([{ ...worker("a"), settings: { cells: "shared", memoryMib: 256 } }]);
    expect(events.filter((event) => event.startsWith("prepare"))).toEqual([]);
    expect(applied[0]?.settings).toEqual({ cells: "shared", memoryMib: 256 });
  });

  test("a worker that can't be prepared stays as it was, and does not hold back the others", async () => {
    await runner.run([worker("a")]);
    unpreparable.add("a");
    const failures = await runner.run([worker("a", 2), worker("b")]);
    expect(failures).toMatchObject([{ worker: workerKey(worker("a")), reason: "no blob" }]);
    expect(events.at(-2)).toBe("apply a@1 b@1");
    expect(events.at(-1)).toBe("routes a.localhost/* b.localhost/*");
  });

  test("a route that is malformed spoils only its worker", async () => {
    await runner.run([worker("a")]);
    const spoilt = { ...worker("a"), routes: ["a.localhost/*", "a.localhost/é"] };
    const failures = await runner.run([spoilt, worker("b")]);
    expect(failures).toMatchObject([{ worker: workerKey(worker("a")) }]);
    expect(failures[0]?.reason).toContain("a.localhost/é");
    expect(events.at(-1)).toBe("routes a.localhost/* b.localhost/*");
  });

  test("a new worker that does not start gets no route", async () => {
    unstartable.add("a");
    const failures = await runner.run([worker("a"), worker("b")]);
    expect(failures).toMatchObject([{ reason: "throws" }]);
    expect(events.at(-1)).toBe("routes b.localhost/*");
  });

  test("what failed is tried again with all that is here of it, and prepared anew", async () => {
    await runner.run([worker("a"), worker("b")]);
    unstartable.add("a");
    unpreparable.add("b");
    await runner.run([worker("a", 2), worker("b", 2), worker("c")]);
    events = [];
    nowMs = LIMITS.drainMs;
    tick();
    await runner.run([worker("a", 2), worker("b", 2), worker("c")]);
    expect(events.slice(0, 2)).toEqual(["prune all but a@1 b@1 c@1 a@2 b@2", "prepare a@2"]);
    unpreparable.add("a");
    await runner.run([worker("a", 3)]);
    expect(events).toContain("apply a@1");
  });

  test("removes leftovers only when what used them can't be draining any more", async () => {
    await runner.run([worker("a")]);
    await runner.run([worker("b")]);
    nowMs = LIMITS.drainMs - 1;
    tick();
    await runner.close();
    nowMs = LIMITS.drainMs;
    tick();
    tick();
    await runner.close();
    expect(events.filter((event) => event.startsWith("prune"))).toEqual([
      "prune all but b@1 a@1",
      "prune all but b@1",
    ]);
  });

  test("removes leftovers also while others come, go and fail again and again", async () => {
    await runner.run([worker("a"), worker("b")]);
    unstartable.add("b");
    const failing = [worker("a", 2), worker("b", 2)];
    const changing = [1, 2, 3].map((version) => [...failing, worker("c", version)]);
    for (const workers of changing) {
      await runner.run(workers);
      nowMs += LIMITS.drainMs - 1;
      tick();
      await runner.close();
      nowMs += 1;
    }
    const last = events.findLast((event) => event.startsWith("prune"));
    expect(last).toBe("prune all but a@2 b@1 c@3 b@2 c@2");
    events = [];
    await runner.run(changing[2] ?? []);
    tick();
    tick();
    await runner.close();
    const removals = events.filter((event) => event.startsWith("prune"));
    expect(removals).toEqual(["prune all but a@2 b@1 c@3 b@2"]);
  });

  test("cells that drain keep their namespaces, whatever is deployed meanwhile", async () => {
    const [own] = worker("a", 2).versions;
    if (own === undefined) throw new Error("a worker has no version");
    const unbound = {
      ...worker("a", 2),
      versions: [{ ...own, version: { ...own.version, bindings: [] } }],
    };
    const { id } = worker("a").versions[0]?.version ?? own.version;
    const granted = capabilities.of({ worker: workerKey(worker("a")), version: id }, NAMESPACE);
    await runner.run([worker("a")]);
    await runner.run([unbound]);
    nowMs = LIMITS.drainMs - 1;
    await runner.run([unbound, worker("b")]);
    expect(capabilities.resolve(granted)).toBe(NAMESPACE);
    nowMs = LIMITS.drainMs;
    await runner.run([unbound]);
    expect(capabilities.resolve(granted)).toBeUndefined();
  });
});
