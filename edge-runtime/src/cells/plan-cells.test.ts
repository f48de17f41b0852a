import {
  AccountId,
  BlobHash,
  Code,
  WorkerKey,
  WorkerName,
  type Binding,
  type CellPolicy,
} from "@atoll/control-plane/contract";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { planCells, type PlannedWorker } from "./plan-cells.ts";

const ACCOUNTS = ["a", "b"].map((letter) => AccountId.parse(letter.repeat(32)));

interface Draft {
  readonly account: AccountId;
  readonly name: number;
  /** Workers that it calls. */
  readonly calls: ReadonlyArray<number>;
  /** Workers that hear of it. */
  readonly consumers: ReadonlyArray<number>;
  readonly size: number;
}

/** Workers with random bindings: to each other, to themselves, to workers that don't exist. */
const someDrafts = fc.uniqueArray(
  fc.record({
    account: fc.constantFrom(...ACCOUNTS),
    name: fc.integer({ min: 0, max: 60 }),
    calls: fc.array(fc.integer({ min: 0, max: 150 }), { maxLength: 2 }),
    consumers: fc.array(fc.integer({ min: 0, max: 150 }), { maxLength: 1 }),
    size: fc.integer({ min: 0, max: LIMITS.sharedCellCodeBytesMax + 2 }),
  }),
  { selector: (worker) => `${worker.account}/${worker.name}`, maxLength: 60 },
);

function workersOf(...policies: ReadonlyArray<CellPolicy>): fc.Arbitrary<PlannedWorker[]> {
  const assigned = fc.tuple(fc.constantFrom(...policies), fc.constantFrom(...policies));
  return fc
    .tuple(someDrafts, assigned)
    .map(([drafts, cells]) =>
      drafts.map((draft) =>
        plannedWorker(draft, cells[ACCOUNTS.indexOf(draft.account)] ?? "shared"),
      ),
    );
}

const someWorkers = workersOf("per-worker", "shared");

function plannedWorker(draft: Draft, cells: CellPolicy): PlannedWorker {
  const { account, name, calls, consumers, size } = draft;
  const bindings = calls.map((call, index): Binding => ({
    type: "service",
    name: `S${index}`,
    service: WorkerName.parse(`w${call}`),
  }));
  const blob = BlobHash.parse("0".repeat(64));
  const code = Code.parse({
    kind: "modules",
    modules: [{ name: "index.js", kind: "esm", blob, size }],
  });
  const key = WorkerKey.parse(`${account}/w${name}`);
  const tailConsumers = consumers.map((consumer) => WorkerName.parse(`w${consumer}`));
  return { account, key, version: { bindings, code }, tailConsumers, settings: { cells } };
}

function keysOf(groups: ReadonlyArray<ReadonlyArray<PlannedWorker>>): string[][] {
  return groups.map((group) => group.map((worker) => worker.key));
}

test("plan: every worker is in exactly one group", () => {
  fc.assert(
    fc.property(someWorkers, (workers) => {
      const keys = keysOf(planCells(workers)).flat();
      expect(keys.toSorted()).toEqual(workers.map((worker) => worker.key).toSorted());
    }),
  );
});

test("plan: bound workers of an account share a cell", () => {
  fc.assert(
    fc.property(someWorkers, (workers) => {
      const groups = keysOf(planCells(workers));
      const groupOf = new Map(groups.flatMap((keys, index) => keys.map((key) => [key, index])));
      const bindings = bindingsOf(workers).filter(({ target }) => groupOf.has(target));
      const apart = bindings.filter(({ key, target }) => groupOf.get(key) !== groupOf.get(target));
      expect(apart).toEqual([]);
    }),
  );
});

test("plan: nobody shares a cell with another account", () => {
  fc.assert(
    fc.property(someWorkers, (workers) => {
      for (const group of planCells(workers)) {
        expect(new Set(group.map((worker) => worker.account)).size).toBe(1);
      }
    }),
  );
});

test("plan: without sharing, workers of one group are connected", () => {
  fc.assert(
    fc.property(workersOf("per-worker"), (workers) => {
      for (const group of planCells(workers)) expect(isConnected(group)).toBe(true);
    }),
  );
});

test("plan: what shares a cell without need is within its bounds", () => {
  fc.assert(
    fc.property(workersOf("shared"), (workers) => {
      for (const group of planCells(workers).filter((each) => !isConnected(each))) {
        expect(group.length).toBeLessThanOrEqual(LIMITS.sharedCellWorkersMax);
        expect(sizeOf(group)).toBeLessThanOrEqual(LIMITS.sharedCellCodeBytesMax);
      }
    }),
  );
});

test("plan: small workers of an account that shares are in as few cells as their number needs", () => {
  const [account] = ACCOUNTS as [AccountId];
  const plan = (count: number, size: number): ReadonlyArray<number> =>
    planCells(
      Array.from({ length: count }, (_, name) =>
        plannedWorker({ account, name, calls: [], consumers: [], size }, "shared"),
      ),
    ).map((group) => group.length);
  const { sharedCellWorkersMax: workersMax, sharedCellCodeBytesMax: bytesMax } = LIMITS;
  expect(plan(workersMax, 1)).toEqual([workersMax]);
  expect(plan(workersMax + 1, 1).toSorted((a, b) => a - b)).toEqual([1, workersMax]);
  expect(plan(2, bytesMax / 2)).toEqual([2]);
  expect(plan(2, bytesMax / 2 + 1)).toEqual([1, 1]);
});

test("plan: a version beside its worker has a cell of its own, with all that it calls and no caller", () => {
  const [account] = ACCOUNTS as [AccountId];
  const draft = (name: number, ...calls: ReadonlyArray<number>): PlannedWorker =>
    plannedWorker({ account, name, calls, consumers: [], size: 1 }, "shared");
  const main = { ...draft(1, 2), role: "main" as const };
  const other = { ...draft(1, 3), role: "other" as const };
  const workers = [draft(0, 1), main, other, draft(2), draft(3, 4, 1), draft(4)];
  const groups = planCells(workers);
  const beside = groups.find((group) => group.includes(other));
  expect(keysOf([beside ?? []])).toEqual([["w1", "w3", "w4"].map((name) => `${account}/${name}`)]);
  // The others are planned as if it were not there.
  expect(groups.filter((group) => group !== beside)).toEqual(
    planCells(workers.filter((worker) => worker !== other)),
  );
});

test("plan: a version beside a worker that is called brings what it calls, and one that nobody calls nothing", () => {
  const [account] = ACCOUNTS as [AccountId];
  const draft = { account, consumers: [], size: 1 };
  const planned = (name: number, ...calls: ReadonlyArray<number>): PlannedWorker =>
    plannedWorker({ ...draft, name, calls }, "per-worker");
  const split = { ...planned(1), other: { member: planned(1, 2) } };
  const names = (...workers: ReadonlyArray<PlannedWorker>): ReadonlyArray<string> =>
    keysOf(planCells(workers)).map((keys) => keys.map((key) => key.split("/")[1]).join(" "));
  expect(names(split, planned(2))).toEqual(["w1", "w2"]);
  expect(names(split, planned(2), planned(3, 1))).toEqual(["w1 w2 w3"]);
  // What another version beside calls has a copy of all that it may call in its turn.
  const beside = { ...planned(4, 1), role: "other" as const };
  expect(names(split, planned(2), planned(4), beside)).toEqual(["w1", "w2", "w4", "w1 w2 w4"]);
});

test("plan: the order of the workers does not matter", () => {
  const shuffled = someWorkers.chain((workers) =>
    fc.tuple(
      fc.constant(workers),
      fc.shuffledSubarray([...workers], { minLength: workers.length }),
    ),
  );
  fc.assert(
    fc.property(shuffled, ([workers, other]) => {
      expect(keysOf(planCells(other))).toEqual(keysOf(planCells(workers)));
    }),
  );
});

/** Whether bindings lead from one worker of a group to all others. */
function isConnected(group: ReadonlyArray<PlannedWorker>): boolean {
  const reached = reachedFrom(group);
  return group.every(({ key }) => reached.has(key));
}

function sizeOf(group: ReadonlyArray<PlannedWorker>): number {
  const sizes = group.map(({ version: { code } }) =>
    code.kind === "modules" ? (code.modules[0]?.size ?? 0) : 0,
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** What the bindings of a group connect with its first worker, in either direction. */
function reachedFrom(group: ReadonlyArray<PlannedWorker>): ReadonlySet<string> {
  const reached = new Set([group[0]?.key ?? ""]);
  for (let before = -1; before !== reached.size;) {
    before = reached.size;
    for (const { key, target } of bindingsOf(group)) {
      if (reached.has(key)) reached.add(target);
      if (reached.has(target)) reached.add(key);
    }
  }
  return reached;
}

function bindingsOf(
  workers: ReadonlyArray<PlannedWorker>,
): ReadonlyArray<{ readonly key: string; readonly target: string }> {
  return workers.flatMap(({ key, account, version, tailConsumers = [] }) => {
    const services = version.bindings.flatMap((binding) =>
      binding.type === "service" ? [binding.service] : [],
    );
    return [...services, ...tailConsumers].map((name) => ({ key, target: `${account}/${name}` }));
  });
}
