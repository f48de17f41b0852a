import { beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { SharedTransactions } from "./shared-transactions.ts";

/** What each transaction made, in the order of their ends; what was undone is not there. */
let committed: string[][];
let undone: number;
let open: string[];
/** Fails a commit, or lets it be. */
let commit: () => Promise<void>;
let shared: SharedTransactions;

beforeEach(() => {
  committed = [];
  undone = 0;
  commit = () => Promise.resolve();
  shared = new SharedTransactions({
    transaction: async (action) => {
      open = [];
      const result = action();
      const made = open;
      await commit();
      committed.push(made);
      return result;
    },
    onUndone: () => (undone += 1),
  });
});

const make = (name: string, operationCount = 1): Promise<string> =>
  shared.make(operationCount, () => {
    open.push(name);
    if (name.startsWith("bad")) throw new Error(name);
    return name;
  });

test("SharedTransactions: what comes while one is committed shares the next, in the order of the calls", async () => {
  const all = ["a", "b", "c", "d"].map((name) => make(name));
  expect(await Promise.all(all)).toEqual(["a", "b", "c", "d"]);
  expect(committed).toEqual([["a"], ["b", "c", "d"]]);
  await make("e");
  expect(committed.at(-1)).toEqual(["e"]);
  expect(undone).toBe(0);
});

test("SharedTransactions: a transaction has no more operations than its bound, but one change at least", async () => {
  const max = LIMITS.replicaSharedOperationsMax;
  const sizes = [1, max, 1, max - 1, 1, max + 1];
  await Promise.all(sizes.map((size, index) => make(String(index), size)));
  expect(committed).toEqual([["0"], ["1"], ["2", "3"], ["4"], ["5"]]);
});

test("SharedTransactions: a change that fails takes nothing with it of those that shared its transaction", async () => {
  const results = await Promise.allSettled(["a", "b", "bad", "c"].map((name) => make(name)));
  expect(results.map(({ status }) => status)).toEqual([
    ...["fulfilled", "fulfilled", "rejected", "fulfilled"],
  ]);
  expect(committed).toEqual([["a"], ["b"], ["c"]]);
  expect(undone).toBeGreaterThan(0);
});

test("SharedTransactions: after a commit that failed each change is tried once more, and told of its own end", async () => {
  let commits = 0;
  commit = () => {
    commits += 1;
    return commits === 2 ? Promise.reject(new Error("no space")) : Promise.resolve();
  };
  expect(await Promise.all(["a", "b", "c"].map((name) => make(name)))).toEqual(["a", "b", "c"]);
  expect(committed).toEqual([["a"], ["b"], ["c"]]);
  expect(undone).toBe(1);
  commit = () => Promise.reject(new Error("no space"));
  await expect(make("d")).rejects.toThrow("no space");
});

test("SharedTransactions: is idle when the last change has ended", async () => {
  await shared.idle();
  const released = Promise.withResolvers<void>();
  commit = () => released.promise;
  const made = [make("a"), make("b")];
  const idle = shared.idle().then(() => committed.flat());
  released.resolve();
  expect(await idle).toEqual(["a", "b"]);
  await Promise.all(made);
});
