import { expect, test } from "vitest";
import { Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { OwnWrites } from "./own-writes.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const OTHER = NamespaceId.parse("b".repeat(32));
const A = Key.parse("a");
const B = Key.parse("b");
const NOW_MS = 1_000;

function add(own: OwnWrites, keys: ReadonlyArray<Key>, revision: number, nowMs = NOW_MS): boolean {
  return own.add(NAMESPACE, { keys, revision: Revision.parse(revision) }, nowMs);
}

test("OwnWrites: a key waits for all its writes until the replica has come so far", () => {
  const own = new OwnWrites();
  expect(add(own, [A, B], 5)).toBe(true);
  expect(add(own, [A], 7)).toBe(true);
  const since = { sinceMs: NOW_MS, untilMs: NOW_MS + LIMITS.ownWriteMs };
  expect(own.of(NAMESPACE)).toEqual([
    { keys: [A, B], revision: 5, ...since },
    { keys: [A], revision: 7, ...since },
  ]);
  own.reached(OTHER, 9);
  own.reached(NAMESPACE, 6);
  expect(own.of(NAMESPACE)).toMatchObject([{ keys: [A], revision: 7 }]);
  own.reached(NAMESPACE, 7);
  expect(own.of(NAMESPACE)).toEqual([]);
});

test("OwnWrites: when a later write is lost, the one before it is still waited for", () => {
  const own = new OwnWrites();
  add(own, [A], 5);
  add(own, [A], 7);
  own.heard(NAMESPACE, { revision: Revision.parse(6) }, NOW_MS);
  expect(own.of(NAMESPACE)).toMatchObject([{ revision: 5 }]);
});

test("OwnWrites: what the origin does not have any more is not waited for, once it is sure to have been asked since", () => {
  const own = new OwnWrites();
  add(own, [A], 5);
  own.heard(NAMESPACE, { revision: Revision.parse(4) }, NOW_MS - 1);
  own.heard(NAMESPACE, { revision: Revision.parse(5) }, NOW_MS);
  expect(own.of(NAMESPACE)).toHaveLength(1);
  own.heard(NAMESPACE, { revision: Revision.parse(4) }, NOW_MS);
  expect(own.of(NAMESPACE)).toEqual([]);
});

test("OwnWrites: are bounded, and have room again when some are seen or their namespace is dropped", () => {
  const own = new OwnWrites();
  const keys = Array.from({ length: LIMITS.ownWritesMax }, (_, index) => Key.parse(`k${index}`));
  expect(add(own, keys.slice(1), 5)).toBe(true);
  expect(add(own, [A, B], 6)).toBe(false);
  expect(add(own, [A], 6)).toBe(true);
  own.reached(NAMESPACE, 5);
  expect(add(own, keys.slice(1), 7)).toBe(true);
  own.forget(NAMESPACE);
  expect(add(own, keys, 8)).toBe(true);
});
