import { expect, test } from "vitest";
import { NamespaceId, Revision, type HistoryPoint } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import { PointReads } from "./point-reads.ts";

const FIRST = NamespaceId.parse("1".repeat(32));
const SECOND = NamespaceId.parse("2".repeat(32));
const MISSING = NamespaceId.parse("3".repeat(32));

function pointAt(revision: number): HistoryPoint {
  return { revision: Revision.parse(revision), digest: EMPTY_STATE };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test("PointReads: what is asked in one turn is one read, each namespace once", async () => {
  const reads: Array<ReadonlyArray<NamespaceId>> = [];
  const points = new PointReads(async (namespaces) => {
    reads.push(namespaces);
    return new Map([
      [FIRST, pointAt(1)],
      [SECOND, pointAt(2)],
    ]);
  });
  const answers = [FIRST, SECOND, FIRST, MISSING].map((namespace) => points.ask(namespace));
  expect(await Promise.all(answers)).toEqual([pointAt(1), pointAt(2), pointAt(1), undefined]);
  expect(reads).toEqual([[FIRST, SECOND, MISSING]]);
});

test("PointReads: a question that comes up while a read is under way is answered by the next one", async () => {
  const { promise: isOver, resolve: finish } = Promise.withResolvers<void>();
  let revision = 0;
  const points = new PointReads(async () => {
    revision += 1;
    const read = new Map([[FIRST, pointAt(revision)]]);
    await isOver;
    return read;
  });
  const early = points.ask(FIRST);
  await nextTurn();
  // What was read already may be older than this question.
  const late = points.ask(FIRST);
  finish();
  expect(await Promise.all([early, late])).toEqual([pointAt(1), pointAt(2)]);
});

test("PointReads: a read that fails fails its own questions, and not the next ones", async () => {
  let isAway = true;
  const points = new PointReads(async () => {
    if (isAway) throw new Error("away");
    return new Map([[FIRST, pointAt(1)]]);
  });
  const failed = await Promise.allSettled([points.ask(FIRST), points.ask(SECOND)]);
  expect(failed.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  isAway = false;
  expect(await points.ask(FIRST)).toEqual(pointAt(1));
});
