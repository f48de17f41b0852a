import { beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { SharedTransactions } from "./shared-transactions.ts";

/** What each transaction made, in the order of their ends; what was undone is not there. */
let committed: string[][];
let undone: number;
let open: string[];
/** Fails a commit, or lets it be. */
let commit: () => Promise<void>;
let shared: SharedTransactions;
let clock: ManualClock;

beforeEach(() => {
  clock = new ManualClock();
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
    clock,
  });
});

const make = (name: string, operationCount = 1, isAwaited = true): Promise<string> =>
  shared.make({ operationCount, isAwaited }, () => {
    open.push(name);
    if (name.startsWith("bad")) throw new Error(name);
    return name;
  });

test("SharedTransactions: what comes while one is committed shares the next, in the order of the calls", async () => {
  const all = ["a", "b", "c", "d"].map((name) => make(name));
  expect(await Promise.all(all)).toEqual(["a", "b", "c", "d"]);
  expect(committed).toEqual([["a"], ["b", "c", "d"]]);
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

/** A change that nobody waits for. */
const gather = (name: string, operationCount = 1): Promise<string> =>
  make(name, operationCount, false);

const { replicaGatherMsMin: LEAST_MS, replicaGatherMsMax: MOST_MS } = LIMITS;

/** Makes a first change, whose commit takes so long. */
async function commitFor(ms: number): Promise<void> {
  commit = async () => clock.advance(ms);
  await gather("first");
  commit = () => Promise.resolve();
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test.each([
  ["for twice as long as that took", LEAST_MS - 1, 2 * (LEAST_MS - 1)],
  ["no shorter than a bound", 0, LEAST_MS],
  ["no longer than another", 1_000, MOST_MS],
])("SharedTransactions: what comes soon after a commit gathers, %s", async (_what, ms, wait) => {
  await commitFor(ms);
  const waiting = [gather("a"), gather("b")];
  clock.advance(wait - 1);
  await turn();
  expect(committed).toEqual([["first"]]);
  waiting.push(gather("c"));
  clock.advance(1);
  await Promise.all(waiting);
  expect(committed).toEqual([["first"], ["a", "b", "c"]]);
  expect(clock.timerCount).toBe(0);
});

test("SharedTransactions: what comes while one is committed gathers with what comes soon after it", async () => {
  const released = Promise.withResolvers<void>();
  commit = () => released.promise;
  const waiting = [gather("first"), gather("a")];
  released.resolve();
  await waiting[0];
  waiting.push(gather("b"));
  clock.advance(LEAST_MS);
  await Promise.all(waiting);
  expect(committed).toEqual([["first"], ["a", "b"]]);
});

test("SharedTransactions: what comes long after a commit does not wait", async () => {
  await commitFor(1_000);
  clock.advance(MOST_MS);
  await gather("a");
  expect(committed).toEqual([["first"], ["a"]]);
});

test.each([
  ["somebody waits for one", () => make("b")],
  ["they fill a transaction", () => gather("b", LIMITS.replicaSharedOperationsMax - 1)],
  ["they are to be idle", async () => void (await Promise.all([shared.idle(), gather("b")]))],
])("SharedTransactions: changes that gather are made at once when %s", async (_what, hurry) => {
  await commitFor(3);
  const waiting = gather("a");
  await hurry();
  await waiting;
  expect(committed.flat()).toEqual(["first", "a", "b"]);
  expect(clock.timerCount).toBe(0);
});
