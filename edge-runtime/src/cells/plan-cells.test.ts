import { AccountId, WorkerKey, WorkerName, type Binding } from "@atoll/control-plane/contract";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { planCells, type PlannedWorker } from "./plan-cells.ts";

const ACCOUNTS = ["a", "b"].map((letter) => AccountId.parse(letter.repeat(32)));

/** Workers with random bindings: to each other, to themselves, to workers that don't exist. */
const someWorkers = fc
  .uniqueArray(
    fc.record({
      account: fc.constantFrom(...ACCOUNTS),
      name: fc.integer({ min: 0, max: 12 }),
      calls: fc.array(fc.integer({ min: 0, max: 15 }), { maxLength: 2 }),
    }),
    { selector: (worker) => `${worker.account}/${worker.name}` },
  )
  .map((drafts) => drafts.map((draft) => plannedWorker(draft.account, draft.name, draft.calls)));

function plannedWorker(
  account: AccountId,
  name: number,
  calls: ReadonlyArray<number>,
): PlannedWorker {
  const bindings = calls.map((call, index): Binding => ({
    type: "service",
    name: `S${index}`,
    service: WorkerName.parse(`w${call}`),
  }));
  return { account, key: WorkerKey.parse(`${account}/w${name}`), version: { bindings } };
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

test("plan: workers of one group are connected, so nobody shares a cell without a reason", () => {
  fc.assert(
    fc.property(someWorkers, (workers) => {
      for (const group of planCells(workers)) {
        expect(group.filter((worker) => !reachedFrom(group).has(worker.key))).toEqual([]);
        expect(new Set(group.map((worker) => worker.account)).size).toBe(1);
      }
    }),
  );
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
  return workers.flatMap((worker) =>
    worker.version.bindings.flatMap((binding) =>
      binding.type === "service"
        ? [{ key: worker.key, target: `${worker.account}/${binding.service}` }]
        : [],
    ),
  );
}
