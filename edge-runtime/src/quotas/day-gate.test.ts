import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  AccountId,
  DayQuota,
  DesiredWorker,
  NO_DAY_BOUNDS,
  NO_DAY_USE,
  VersionId,
  type DayUse,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DayFile } from "./day-file.ts";
import { DayGate } from "./day-gate.ts";

const VERSION = VersionId.parse("11111111-1111-4111-8111-111111111111");
const [OURS, THEIRS] = ["a", "b"].map((digit) => AccountId.parse(digit.repeat(32))) as [
  AccountId,
  AccountId,
];
const DAY = "2026-11-20";

let directory: string;
let nowMs: number;
let tick: () => void;
let refused: ReadonlyArray<WorkerKey>;
let told: Array<Readonly<Record<string, unknown>>>;
let gate: DayGate;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "day-gate-"));
  nowMs = Date.parse(`${DAY}T23:59:00.000Z`);
  told = [];
  gate = await open();
});
afterEach(async () => {
  await gate.close();
  await rm(directory, { recursive: true });
});

/** A node that starts, with what is on its disk. */
async function open(): Promise<DayGate> {
  refused = [];
  const clock: Clock = {
    nowMs: () => nowMs,
    monotonicMs: () => 0,
    every: (_, callback) => {
      tick = callback;
      return () => undefined;
    },
  };
  const log = pino({ level: "info" }, { write: (line) => void told.push(JSON.parse(line)) });
  const opened = await DayGate.open({
    file: new DayFile({ directory, log }),
    refuse: (workers) => {
      refused = [...workers].map((key) => key.slice(key.indexOf("/") + 1)).toSorted();
    },
    clock,
    log,
  });
  opened.setWorkers([
    ...["one", "two"].map((name) => worker(OURS, name)),
    worker(OURS, "site", "none"),
    worker(THEIRS, "other"),
  ]);
  return opened;
}

function worker(account: AccountId, name: string, kind: "none" | "modules" = "modules") {
  const blob = "0".repeat(64);
  const module = { name: "index.js", kind: "esm", blob, size: 1 };
  const version = {
    ...{ id: VERSION, number: 1, createdAt: "2026-01-01T00:00:00.000Z" },
    ...{ compatibilityDate: "2026-01-01", compatibilityFlags: [], bindings: [] },
    code: kind === "none" ? { kind } : { kind, modules: [module] },
  };
  const versions = [{ version, percentage: 100 }];
  return DesiredWorker.parse({ account, name, versions, routes: [] });
}

function quota(changes: Partial<DayQuota> = {}): DayQuota {
  return {
    ...{ ...NO_DAY_BOUNDS, account: OURS, requestsMax: 10, day: DAY },
    ...{ elsewhere: NO_DAY_USE, here: NO_DAY_USE },
    ...changes,
  };
}

function hear(...quotas: ReadonlyArray<DayQuota>): void {
  gate.hear({ isFirst: false, quotas });
}

function serve(requests: number, account = OURS, isStatic = false): void {
  gate.count({ worker: `${account}/one`, version: VERSION, isStatic }, { requests });
}

function used(requests: number): DayUse {
  return { ...NO_DAY_USE, requests };
}

describe("day gate: ", () => {
  test.each([
    [8, 1, false],
    [9, 1, true],
    [10, 1, true],
    [0, 9, false],
    [0, 10, true],
  ])(
    "after %i requests elsewhere and %i here of 10 a further one is refused: %s",
    (elsewhere, here, isRefused) => {
      hear(quota({ elsewhere: used(elsewhere) }));
      serve(here);
      expect(refused).toEqual(isRefused ? ["one", "two"] : []);
      expect(gate.isRefused(`${OURS}/one`)).toBe(isRefused);
      expect(gate.isRefused(`${THEIRS}/other`)).toBe(false);
    },
  );

  test("static sites neither count nor are refused, and other accounts go on", () => {
    hear(quota());
    serve(100, OURS, true);
    serve(100, THEIRS);
    expect(refused).toEqual([]);
    serve(10);
    expect(refused).toEqual(["one", "two"]);
    gate.setWorkers([worker(OURS, "three"), worker(OURS, "site", "none")]);
    expect(refused).toEqual(["three"]);
  });

  test("processor time is a bound by itself", () => {
    hear(quota({ requestsMax: null, cpuMsMax: 5 }));
    const owner = { worker: `${OURS}/one`, version: VERSION };
    gate.count(owner, { requests: 1_000, cpuUs: 4_999 });
    expect(refused).toEqual([]);
    gate.count(owner, { cpuUs: 1 });
    expect(refused).toEqual(["one", "two"]);
  });

  test("reads and lists of KV are bounds by themselves, and stop no worker", () => {
    const owner = { worker: `${OURS}/one`, version: VERSION } as const;
    const left = () => (["read", "list"] as const).map((use) => gate.kvUsedUp(owner.worker, use));
    hear(quota({ kvReadsMax: 5, kvListsMax: 2, elsewhere: { ...NO_DAY_USE, kvReads: 2 } }));
    gate.count(owner, { kvReads: 2, kvLists: 1 });
    expect([left(), gate.isAnybodyOver]).toEqual([[undefined, undefined], false]);
    gate.count(owner, { kvReads: 100 });
    expect([left(), gate.isAnybodyOver]).toEqual([[5, undefined], true]);
    gate.count(owner, { kvLists: 1 });
    expect(left()).toEqual([5, 2]);
    expect(gate.kvUsedUp(`${THEIRS}/other`, "read")).toBeUndefined();
    expect(gate.isRefused(owner.worker)).toBe(false);
    // Both at once are told, and each by itself.
    serve(10);
    expect([refused, left()]).toEqual([
      ["one", "two"],
      [5, 2],
    ]);
    hear(quota({ kvReadsMax: 105, kvListsMax: 2 }));
    expect([refused, left()]).toEqual([
      ["one", "two"],
      [undefined, 2],
    ]);
    expect(told.map(({ usedUp, left: again }) => usedUp ?? again)).toEqual([
      ...[["kvReads"], ["kvLists"], ["requests"], ["kvReads"]],
    ]);
    nowMs += 60_000;
    tick();
    expect([refused, left(), gate.isAnybodyOver]).toEqual([[], [undefined, undefined], false]);
  });

  test("what a node of an older version kept, or a control plane tells, has no bounds of KV", () => {
    const { kvReadsMax: _r, kvListsMax: _l, ...earlier } = quota();
    const use = { requests: 1, cpuUs: 2 };
    expect(DayQuota.parse({ ...earlier, elsewhere: use, here: use })).toEqual(
      quota({ elsewhere: { ...used(1), cpuUs: 2 }, here: { ...used(1), cpuUs: 2 } }),
    );
  });

  test("what was used before there was a quota counts, and a quota that is raised or lifted lets in", () => {
    serve(7);
    hear(quota({ requestsMax: 7 }));
    expect(refused).toEqual(["one", "two"]);
    hear(quota({ requestsMax: 8 }));
    expect(refused).toEqual([]);
    hear(quota({ requestsMax: 0 }));
    expect(refused).toEqual(["one", "two"]);
    hear(quota({ requestsMax: null }));
    expect(refused).toEqual([]);
    hear(quota({ requestsMax: 7 }));
    gate.hear({ isFirst: true, quotas: [] });
    expect(refused).toEqual([]);
  });

  test("the next day begins anew, by what was heard of it, and a clock that goes back finds no old count", () => {
    hear(quota({ elsewhere: used(9) }));
    serve(1);
    expect(refused).toEqual(["one", "two"]);
    nowMs += 60_000;
    tick();
    expect(refused).toEqual([]);
    serve(9);
    expect(refused).toEqual([]);
    // The control plane's clock is ahead, or it had to tell of the day before once more.
    hear(quota({ day: "2026-11-22", elsewhere: used(9) }));
    expect(refused).toEqual([]);
    hear(quota({ day: "2026-11-21", elsewhere: used(1) }));
    expect(refused).toEqual(["one", "two"]);
    nowMs -= 60_000;
    tick();
    expect(refused).toEqual([]);
  });

  test("a restart goes on from what was saved, and what is told of this node counts once", async () => {
    hear(quota({ elsewhere: used(5) }));
    serve(4);
    await gate.save();
    gate = await open();
    expect(refused).toEqual([]);
    hear(quota({ elsewhere: used(5), here: used(4) }));
    expect(refused).toEqual([]);
    serve(1);
    expect(refused).toEqual(["one", "two"]);
    await gate.close();
    gate = await open();
    expect(refused).toEqual(["one", "two"]);
    nowMs += 24 * 60 * 60 * 1_000;
    gate = await open();
    expect(refused).toEqual([]);
  });

  test("a node that lost its disk, or what it had not saved, goes by what it has told", async () => {
    serve(9);
    await gate.save();
    await writeFile(join(directory, "day.bin"), "damaged");
    gate = await open();
    expect(await readdir(directory)).toEqual(["day.bin.damaged"]);
    hear(quota({ here: used(9) }));
    expect(refused).toEqual([]);
    serve(1);
    expect(refused).toEqual(["one", "two"]);
  });

  test("nothing is written where no account has a quota", async () => {
    serve(9);
    await gate.save();
    expect(await readdir(directory)).toEqual([]);
  });

  test("a disk that refuses is told, and tried again", async () => {
    await writeFile(join(directory, "file"), "");
    const log = pino({ level: "info" }, { write: (line) => void told.push(JSON.parse(line)) });
    const file = new DayFile({ directory: join(directory, "file", "in"), log });
    const clock = { nowMs: () => nowMs, monotonicMs: () => 0, every: () => () => undefined };
    const save = file.save.bind(file);
    const failing = await DayGate.open({
      file: { load: async () => undefined, save },
      refuse: () => undefined,
      clock,
      log,
    });
    failing.hear({ isFirst: true, quotas: [quota()] });
    await failing.save();
    await failing.close();
    const failures = told.filter(({ msg }) => String(msg).includes("could not be written"));
    expect(failures).toHaveLength(2);
  });

  test("the log tells when an account is refused, why and until when, and when it is served again", () => {
    hear(quota());
    serve(10);
    serve(1);
    expect(told).toMatchObject([
      { account: OURS, requests: 10, requestsMax: 10, until: "2026-11-21T00:00:00.000Z" },
    ]);
    nowMs += 60_000;
    tick();
    expect(told.slice(1)).toMatchObject([{ account: OURS, msg: expect.stringContaining("again") }]);
  });
});
