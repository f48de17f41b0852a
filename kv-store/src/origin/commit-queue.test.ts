import { beforeEach, expect, test } from "vitest";
import { Key, type KvOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import { CommitQueue, type CommitGroup, type QueuedWrite } from "./commit-queue.ts";

const A = NamespaceId.parse("a".repeat(32));
const B = NamespaceId.parse("b".repeat(32));
const C = NamespaceId.parse("c".repeat(32));
const NONE: ReadonlySet<NamespaceId> = new Set();

let queue: CommitQueue;
let rejected: string[];

beforeEach(() => {
  queue = new CommitQueue();
  rejected = [];
});

function remove(key: string): KvOperation {
  return { kind: "delete", key: Key.parse(key) };
}

function add(namespace: NamespaceId, name: string, operations = [remove(name)]): void {
  const write: QueuedWrite = {
    namespace,
    operations,
    resolve: () => {},
    reject: () => rejected.push(name),
  };
  queue.add(write);
}

/** Keys of the group's writes, by namespace. */
function keysOf(group: CommitGroup | undefined): ReadonlyArray<ReadonlyArray<string>> {
  return [...(group?.writes.values() ?? [])].map((writes) =>
    writes.flatMap(({ operations }) => operations.map(({ key }) => key)),
  );
}

function take(): CommitGroup {
  const group = queue.take();
  if (group === undefined) throw new Error("no write is waiting");
  return group;
}

test("CommitQueue: everything that waits goes together, in the order in which it came", () => {
  add(A, "1");
  add(B, "2");
  add(A, "3");
  expect(keysOf(queue.take())).toEqual([["1", "3"], ["2"]]);
  expect(queue.take()).toBeUndefined();
});

test("CommitQueue: a namespace in a transaction waits, and others don't", () => {
  add(A, "1");
  const first = take();
  add(A, "2");
  add(B, "3");
  expect(keysOf(queue.take())).toEqual([["3"]]);
  expect(queue.take()).toBeUndefined();
  queue.release(first, NONE);
  expect(keysOf(queue.take())).toEqual([["2"]]);
});

test("CommitQueue: a namespace that another process holds comes again alone, before its later writes", () => {
  add(A, "1");
  add(B, "2");
  const group = take();
  add(A, "3");
  add(C, "4");
  queue.release(group, new Set([A]));
  const alone = take();
  expect([keysOf(alone), alone.waits]).toEqual([[["1", "3"]], true]);
  const rest = take();
  expect([keysOf(rest), rest.waits]).toEqual([[["4"]], false]);
  queue.release(alone, NONE);
  add(A, "5");
  expect(take().waits).toBe(false);
});

test("CommitQueue: only so many wait for other processes", () => {
  const ids = Array.from({ length: LIMITS.originLockWaitersMax + 1 }, (_, index) =>
    NamespaceId.parse(`${index}`.repeat(32)),
  );
  for (const id of ids) add(id, "k");
  queue.release(take(), new Set(ids));
  const [first] = ids.slice(1).map(() => take());
  expect(queue.take()).toBeUndefined();
  if (first !== undefined) queue.release(first, NONE);
  expect(take().waits).toBe(true);
});

test.each([
  [LIMITS.commitOperationsMax - 1, 1],
  [LIMITS.commitOperationsMax, 1],
  [LIMITS.commitOperationsMax + 1, 2],
])("CommitQueue: %i operations are %i transactions", (count, transactions) => {
  for (let index = 0; index < count; index += 1) add(A, `${index}`);
  let taken = 0;
  for (let group = queue.take(); group !== undefined; group = queue.take()) {
    taken += 1;
    queue.release(group, NONE);
  }
  expect(taken).toBe(transactions);
});

test("CommitQueue: a write that is larger than a transaction should be is one, undivided", () => {
  const many = Array.from({ length: LIMITS.commitOperationsMax + 1 }, (_, index) =>
    remove(`${index}`),
  );
  add(A, "large", many);
  add(A, "next");
  const group = take();
  expect(keysOf(group)[0]).toHaveLength(many.length);
  queue.release(group, NONE);
  expect(keysOf(queue.take())).toEqual([["next"]]);
});

test("CommitQueue: what waits is bounded in bytes until it is released", () => {
  const value = { kind: "inline", bytes: Buffer.alloc(LIMITS.inlineValueBytesMax) } as const;
  const put: KvOperation = { kind: "put", key: Key.parse("k"), value };
  const large = Array.from({ length: 100 }, () => put);
  const fill = (): void => {
    for (let count = 0; count < 20; count += 1) add(A, "large", large);
  };
  expect(fill).toThrowError(expect.objectContaining({ code: "busy", retryable: true }));
  const group = take();
  expect(fill).toThrowError(expect.objectContaining({ code: "busy" }));
  queue.release(group, NONE);
  expect(() => add(A, "fits", large)).not.toThrow();
});

test("CommitQueue: what waits can be rejected, and what is in a transaction is not", () => {
  add(A, "taken");
  const group = take();
  add(A, "behind");
  add(B, "other");
  queue.rejectWaiting(new KvError("closed", "over"));
  expect(rejected).toEqual(["behind", "other"]);
  queue.release(group, NONE);
  expect(queue.take()).toBeUndefined();
});
