import { beforeEach, expect, test } from "vitest";
import { Key, type KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { CommitFeed } from "./commit-feed.ts";

const NAMESPACE = NamespaceId.parse("1".repeat(32));

function at(revision: number): Revision {
  return Revision.parse(revision);
}

/** Records from a revision up to another one, both included. */
function records(first: number, last: number): KvRecord[] {
  return Array.from({ length: last - first + 1 }, (_, index) => ({
    revision: at(first + index),
    digest: EMPTY_STATE,
    operation: { kind: "delete", key: Key.parse("k") },
  }));
}

let clock: ManualClock;
let log: RecordedLog;
let feed: CommitFeed;
/** How far the log in the database reaches, and where it begins. */
let head: number;
let logStart: number;
let reads: number[];
let isAway: boolean;
let told: number[];

beforeEach(() => {
  clock = new ManualClock();
  log = new RecordedLog();
  [head, logStart, reads, isAway, told] = [0, 0, [], false, []];
  feed = new CommitFeed({
    readRecords: async (_namespace, after) => {
      reads.push(after);
      if (isAway) throw new Error("away");
      // A page has two.
      return after < logStart ? undefined : records(after + 1, Math.min(head, after + 2));
    },
    ...{ clock, log },
  });
  feed.onCommit((namespace, news) => {
    expect(namespace).toBe(NAMESPACE);
    told.push(...news.map(({ revision }) => revision));
  });
});

/** As this process commits what follows `after`. */
function commit(after: number, count = 1): void {
  feed.commitBegins(NAMESPACE, at(after));
  head = after + count;
  feed.committed(NAMESPACE, records(after + 1, head));
}

test("CommitFeed: tells this process's commits at once, without a read", () => {
  commit(4, 2);
  commit(6);
  expect([told, reads]).toEqual([[5, 6, 7], []]);
});

test("CommitFeed: reads others' commits of what somebody asked about, for a while", async () => {
  feed.heard(NAMESPACE, at(3));
  expect(reads).toEqual([]);
  feed.asked(NAMESPACE, at(3));
  expect(feed.followed()).toEqual([NAMESPACE]);
  head = 8;
  feed.heard(NAMESPACE, at(8));
  await waitFor(() => expect(told).toEqual([4, 5, 6, 7, 8]));
  clock.advance(LIMITS.originFollowMs);
  expect(feed.followed()).toEqual([]);
  head = 9;
  feed.heard(NAMESPACE, at(9));
  expect(reads).toEqual([3, 5, 7]);
});

test("CommitFeed: what others committed before is told before", async () => {
  feed.asked(NAMESPACE, at(0));
  commit(2);
  expect(told).toEqual([]);
  await waitFor(() => expect(told).toEqual([1, 2, 3]));
  commit(3);
  expect(told).toEqual([1, 2, 3, 4]);
});

test("CommitFeed: without somebody who asks, a commit is told without those before", () => {
  commit(0);
  commit(3);
  expect([told, reads]).toEqual([[1, 4], []]);
});

test("CommitFeed: a commit of this process that is seen before it is acknowledged is told once", () => {
  feed.asked(NAMESPACE, at(0));
  feed.commitBegins(NAMESPACE, at(0));
  head = 1;
  feed.asked(NAMESPACE, at(1));
  expect(reads).toEqual([]);
  feed.committed(NAMESPACE, records(1, 1));
  expect(told).toEqual([1]);
  feed.asked(NAMESPACE, at(1));
  expect(reads).toEqual([]);
});

test("CommitFeed: a commit that came to nothing, as far as is known, is told when it did not", async () => {
  feed.asked(NAMESPACE, at(0));
  feed.commitBegins(NAMESPACE, at(0));
  head = 1;
  feed.asked(NAMESPACE, at(1));
  feed.commitFailed(NAMESPACE);
  await waitFor(() => expect(told).toEqual([1]));
});

test("CommitFeed: what is heard while the log is being read is read as well", async () => {
  feed.asked(NAMESPACE, at(0));
  head = 1;
  feed.heard(NAMESPACE, at(1));
  head = 2;
  feed.heard(NAMESPACE, at(2));
  commit(2);
  await waitFor(() => expect(told).toEqual([1, 2, 3]));
});

test("CommitFeed: a read that fails is made again when something is heard again", async () => {
  feed.asked(NAMESPACE, at(0));
  [head, isAway] = [1, true];
  feed.heard(NAMESPACE, at(1));
  await waitFor(() => expect(log.lines).toHaveLength(1));
  isAway = false;
  feed.heard(NAMESPACE, at(1));
  await waitFor(() => expect(told).toEqual([1]));
});

test("CommitFeed: past the log's beginning it goes on with what comes next", async () => {
  feed.asked(NAMESPACE, at(0));
  [head, logStart] = [50, 40];
  feed.heard(NAMESPACE, at(50));
  await waitFor(() => expect(reads).toEqual([0]));
  commit(50);
  expect([told, reads]).toEqual([[51], [0]]);
});

test("CommitFeed: a database that was replaced by an older copy is followed from there", () => {
  feed.asked(NAMESPACE, at(0));
  commit(0, 9);
  told = [];
  commit(5);
  expect(told).toEqual([6]);
});

test("CommitFeed: a listener that fails keeps nobody from hearing", () => {
  feed.onCommit(() => {
    throw new Error("deaf");
  });
  const heard: number[] = [];
  const stop = feed.onCommit((_namespace, news) => heard.push(news.length));
  commit(0);
  stop();
  commit(1);
  expect([heard, told]).toEqual([[1], [1, 2]]);
  expect(log.lines).toContain("error a listener of commits failed: Error: deaf");
});

test("CommitFeed: what it knows of is bounded, and what it forgets is found out again", () => {
  feed.asked(NAMESPACE, at(1));
  for (let count = 0; count < LIMITS.originPositionsMax; count += 1) {
    feed.asked(NamespaceId.parse(count.toString(16).padStart(32, "0")), at(1));
  }
  expect(feed.followed()).toHaveLength(LIMITS.originPositionsMax);
  expect(feed.followed()).not.toContain(NAMESPACE);
  feed.asked(NAMESPACE, at(2));
  commit(2);
  expect(told).toEqual([3]);
});
