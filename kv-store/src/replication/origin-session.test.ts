import { expect, test } from "vitest";
import { Key, type KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision, StateDigest, type HistoryPoint } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import { encodeBatches, encodePage, encodeWrite } from "./batch.ts";
import type { MessageToOrigin } from "./messages.ts";
import { OriginSession, type OriginEffect } from "./origin-session.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const START_MS = 1_000_000;
const LARGE = Buffer.alloc(LIMITS.inlineValueBytesMax);

/** The session passes digests on, and compares few: one does for all. */
function pointAt(revision: number): HistoryPoint {
  return { revision: Revision.parse(revision), digest: EMPTY_STATE };
}

function records(after: number, count: number): KvRecord[] {
  const value = { kind: "inline", bytes: LARGE } as const;
  return Array.from({ length: count }, (_, index) => ({
    ...pointAt(after + 1 + index),
    operation: { kind: "put", key: Key.parse("k"), value },
  }));
}

function subscribed(after: number | null = 0): OriginSession {
  const session = new OriginSession(START_MS);
  const message = {
    kind: "subscribe",
    subscription: 1,
    namespace: NAMESPACE,
    after: after === null ? null : Revision.parse(after),
    ...(after === null ? {} : { digest: EMPTY_STATE }),
  } as const;
  session.handle({ kind: "message", message, nowMs: START_MS });
  return session;
}

function kindsOf(effects: ReadonlyArray<OriginEffect>): string[] {
  return effects.map((effect) => (effect.kind === "send" ? effect.message.kind : effect.kind));
}

/** Answers reads from an endless log until the session stops asking; returns the bytes it sent. */
function feed(session: OriginSession): number {
  let sent = 0;
  let bytes = 0;
  for (;;) {
    const batches = encodeBatches(records(sent, 2));
    const effects = session.handle({ kind: "log-read", subscription: 1, batches });
    bytes += batches.reduce((sum, { body }) => sum + body.length, 0);
    sent += 2;
    if (!kindsOf(effects).includes("read-log")) return bytes;
  }
}

test("OriginSession: what is under way to a node is bounded, and goes on once it is received", () => {
  const session = subscribed();
  const bytes = feed(session);
  expect(bytes).toBeGreaterThanOrEqual(LIMITS.windowBytesMax);
  expect(bytes).toBeLessThan(2 * LIMITS.windowBytesMax);
  const message = { kind: "received", sequence: 1 } as const;
  const effects = session.handle({ kind: "message", message, nowMs: START_MS });
  expect(kindsOf(effects)).toEqual(["read-log"]);
});

test("OriginSession: while the window is full a commit is left to the log", () => {
  const session = subscribed();
  feed(session);
  const batches = encodeBatches(records(1_000, 1));
  expect(session.handle({ kind: "committed", namespace: NAMESPACE, batches })).toEqual([]);
});

test("OriginSession: a node that applies nothing is cut, however lively it is", () => {
  const session = subscribed();
  feed(session);
  const tick = (nowMs: number): string[] => {
    session.handle({ kind: "message", message: { kind: "ping", atMs: 0 }, nowMs });
    return kindsOf(session.handle({ kind: "tick", nowMs }));
  };
  expect(tick(START_MS + LIMITS.windowStallMs)).not.toContain("cut");
  expect(tick(START_MS + LIMITS.windowStallMs + 1)).toContain("cut");
});

test("OriginSession: a node that says nothing is cut", () => {
  const session = subscribed();
  const nowMs = START_MS + LIMITS.linkSilenceMs;
  expect(kindsOf(session.handle({ kind: "tick", nowMs }))).not.toContain("cut");
  expect(kindsOf(session.handle({ kind: "tick", nowMs: nowMs + 1 }))).toContain("cut");
});

test("OriginSession: a live subscription gets each commit at once, and none twice", () => {
  const session = subscribed();
  session.handle({ kind: "log-read", subscription: 1, batches: [] });
  const commit = (after: number): string[] => {
    const batches = encodeBatches(records(after, 1));
    return kindsOf(session.handle({ kind: "committed", namespace: NAMESPACE, batches }));
  };
  expect([commit(0), commit(1), commit(0), commit(1)]).toEqual([["batch"], ["batch"], [], []]);
  // One is missing: the log has it.
  expect(commit(5)).toEqual(["read-log"]);
});

/** A node that is fed what it missed, behind commits up to revision 1,001 that a database then loses. */
function behindLost(): OriginSession {
  const session = subscribed();
  feed(session);
  const batches = encodeBatches(records(1_000, 1));
  session.handle({ kind: "committed", namespace: NAMESPACE, batches });
  const sequence = Number.MAX_SAFE_INTEGER;
  const message = { kind: "received", sequence } as const;
  session.handle({ kind: "message", message, nowMs: START_MS });
  return session;
}

test("OriginSession: the log's end is reached, also when the database has lost what was heard of", () => {
  const session = behindLost();
  const read = { kind: "log-read", subscription: 1, batches: [] } as const;
  expect(session.handle(read)).toEqual([]);
});

test("OriginSession: a snapshot ends, also when the database has lost what was heard of", () => {
  const session = behindLost();
  session.handle({ kind: "log-read", subscription: 1, batches: "diverged" });
  const read = { kind: "entries-read", subscription: 1, point: pointAt(7) } as const;
  const page = encodePage(null, [{ key: Key.parse("k"), value: { kind: "inline", bytes: LARGE } }]);
  expect(kindsOf(session.handle({ ...read, page }))).toEqual([
    ...["snapshot-start", "snapshot-page", "read-entries"],
  ]);
  const effects = session.handle({ ...read, page: undefined });
  expect(kindsOf(effects)).toEqual(["snapshot-end", "read-log"]);
});

test("OriginSession: a commit during the read of the log's end is not missed", () => {
  const session = subscribed();
  const batches = encodeBatches(records(0, 1));
  expect(session.handle({ kind: "committed", namespace: NAMESPACE, batches })).toEqual([]);
  const effects = session.handle({ kind: "log-read", subscription: 1, batches: [] });
  expect(kindsOf(effects)).toEqual(["read-log"]);
});

test("OriginSession: a read of the log that failed is repeated after a pause", () => {
  const session = subscribed(7);
  const failed = { kind: "read-failed", subscription: 1, code: "storage_failed" } as const;
  expect(session.handle(failed)).toEqual([]);
  const tick = (ms: number): ReadonlyArray<OriginEffect> =>
    session.handle({ kind: "tick", nowMs: START_MS + ms });
  expect(kindsOf(tick(LIMITS.originRetryMs - 1))).not.toContain("read-log");
  const after = pointAt(7);
  const again = { kind: "read-log", subscription: 1, namespace: NAMESPACE, after };
  expect(tick(LIMITS.originRetryMs)).toContainEqual(again);
});

test("OriginSession: a log that can't be read again and again is given up for a snapshot", () => {
  const session = subscribed(7);
  for (let count = 1; count < LIMITS.logReadsMax; count += 1) {
    session.handle({ kind: "read-failed", subscription: 1, code: "storage_failed" });
    const nowMs = START_MS + count * LIMITS.originRetryMs;
    expect(kindsOf(session.handle({ kind: "tick", nowMs }))).toContain("read-log");
  }
  session.handle({ kind: "read-failed", subscription: 1, code: "storage_failed" });
  const nowMs = START_MS + LIMITS.logReadsMax * LIMITS.originRetryMs;
  expect(kindsOf(session.handle({ kind: "tick", nowMs }))).toContain("read-entries");
});

test("OriginSession: a write that comes again, or late, is not made: it would put old over new", () => {
  const session = subscribed();
  const body = encodeWrite([{ kind: "delete", key: Key.parse("k") }]);
  const write = (id: number): string[] => {
    const message = { kind: "write", id, namespace: NAMESPACE, ...body } as const;
    return kindsOf(session.handle({ kind: "message", message, nowMs: START_MS }));
  };
  expect([write(1), write(3)]).toEqual([["write"], ["write"]]);
  const outcome = { kind: "written", revision: Revision.parse(1) } as const;
  session.handle({ kind: "write-settled", id: 1, outcome });
  expect([write(1), write(2), write(3), write(4)]).toEqual([[], [], [], ["write"]]);
});

test("OriginSession: a log whose database is away is not given up, however long that takes", () => {
  const session = subscribed(7);
  for (let count = 1; count < 3 * LIMITS.logReadsMax; count += 1) {
    session.handle({ kind: "read-failed", subscription: 1, code: "origin_unreachable" });
    const nowMs = START_MS + count * LIMITS.originRetryMs;
    expect(kindsOf(session.handle({ kind: "tick", nowMs }))).toContain("read-log");
  }
});

test("OriginSession: a node may have so many writes under way, and more are refused", () => {
  const session = subscribed();
  const body = encodeWrite([{ kind: "delete", key: Key.parse("k") }]);
  const write = (id: number): string[] => {
    const message = { kind: "write", id, namespace: NAMESPACE, ...body } as const;
    return kindsOf(session.handle({ kind: "message", message, nowMs: START_MS }));
  };
  for (let id = 1; id <= LIMITS.pendingWritesMax; id++) expect(write(id)).toEqual(["write"]);
  expect(write(LIMITS.pendingWritesMax + 1)).toEqual(["refused"]);
  const outcome = { kind: "written", revision: Revision.parse(1) } as const;
  session.handle({ kind: "write-settled", id: 1, outcome });
  expect(write(LIMITS.pendingWritesMax + 2)).toEqual(["write"]);
});

test("OriginSession: a node may subscribe to so many namespaces, and is cut past that", () => {
  const session = new OriginSession(START_MS);
  let effects: ReadonlyArray<OriginEffect> = [];
  for (let number = 0; number <= LIMITS.subscriptionsMax; number++) {
    const namespace = NamespaceId.parse(number.toString(16).padStart(32, "0"));
    const message = { kind: "subscribe", subscription: number, namespace, after: null } as const;
    effects = session.handle({ kind: "message", message, nowMs: START_MS });
  }
  expect(kindsOf(effects)).toContain("cut");
});

/** Answers a read of entries. */
function entriesRead(
  session: OriginSession,
  revision: number,
  keys: ReadonlyArray<string>,
  after: string | null = null,
): ReadonlyArray<OriginEffect> {
  const value = { kind: "inline", bytes: LARGE } as const;
  const entries = keys.map((key) => ({ key: Key.parse(key), value }));
  return session.handle({
    kind: "entries-read",
    subscription: 1,
    point: pointAt(revision),
    page: encodePage(after === null ? null : Key.parse(after), entries),
  });
}

test("OriginSession: between the pages of a snapshot goes the log, so it can take as long as it likes", () => {
  const session = subscribed(null);
  expect(kindsOf(entriesRead(session, 5, ["a", "b"]))).toEqual([
    "snapshot-start",
    "snapshot-page",
    "read-entries",
  ]);
  const second = entriesRead(session, 7, ["c"], "b");
  expect(kindsOf(second)).toEqual(["snapshot-page", "read-log"]);
  expect(second).toContainEqual(expect.objectContaining({ kind: "read-log", after: pointAt(5) }));
  const log = session.handle({
    kind: "log-read",
    subscription: 1,
    batches: encodeBatches(records(5, 2)),
  });
  expect(kindsOf(log)).toEqual(["batch", "read-entries"]);
  expect(log).toContainEqual(expect.objectContaining({ kind: "read-entries", after: "c" }));
  // It ends once the log is sent up to the last page's moment, and not before.
  expect(kindsOf(entriesRead(session, 8, [], "c"))).toEqual(["read-log"]);
  const end = session.handle({
    kind: "log-read",
    subscription: 1,
    batches: encodeBatches(records(7, 1)),
  });
  expect(kindsOf(end)).toEqual(["batch", "snapshot-end", "read-log"]);
  const ending = { kind: "snapshot-end", subscription: 1, sequence: 6 };
  const message = { ...ending, ...pointAt(8), through: "c" };
  expect(end).toContainEqual({ kind: "send", message });
});

test("OriginSession: a snapshot goes on where the node says, and anew when the log does not reach there", () => {
  const resumed = (): OriginSession => {
    const session = new OriginSession(START_MS);
    const snapshot = { ...pointAt(5), after: Key.parse("m") };
    const message = {
      kind: "subscribe",
      subscription: 1,
      namespace: NAMESPACE,
      after: Revision.parse(2),
      snapshot,
    } as const;
    const effects = session.handle({ kind: "message", message, nowMs: START_MS });
    expect(effects).toContainEqual(expect.objectContaining({ kind: "read-entries", after: "m" }));
    return session;
  };
  expect(kindsOf(entriesRead(resumed(), 5, ["n"], "m"))).toEqual(["snapshot-page", "read-entries"]);
  // The log has lost what came after it, or this history never came so far.
  const cut = resumed();
  entriesRead(cut, 9, ["n"], "m");
  const read = cut.handle({ kind: "log-read", subscription: 1, batches: "truncated" });
  expect(read).toContainEqual(expect.objectContaining({ kind: "read-entries", after: null }));
  const older = resumed();
  const restarted = entriesRead(older, 4, ["n"], "m");
  expect(restarted).toMatchObject([{ kind: "read-entries", after: null }]);
  expect(kindsOf(entriesRead(older, 4, ["a"]))).toContain("snapshot-start");
});

test("OriginSession: a failed read of a page is repeated from the same key", () => {
  const session = subscribed(null);
  entriesRead(session, 5, ["a", "b"]);
  session.handle({ kind: "read-failed", subscription: 1, code: "storage_failed" });
  const effects = session.handle({ kind: "tick", nowMs: START_MS + LIMITS.originRetryMs });
  expect(effects).toContainEqual(expect.objectContaining({ kind: "read-entries", after: "b" }));
});

test("OriginSession: a node with another history gets a snapshot that says so, once", () => {
  const session = subscribed(5);
  const read = session.handle({ kind: "log-read", subscription: 1, batches: "diverged" });
  expect(read).toMatchObject([{ kind: "read-entries", after: null }]);
  const [start] = entriesRead(session, 3, []);
  expect(start).toMatchObject({
    message: { kind: "snapshot-start", revision: 3, isOtherHistory: true },
  });
  session.handle({ kind: "log-read", subscription: 1, batches: "truncated" });
  const [again] = entriesRead(session, 9, []);
  expect(again).toMatchObject({ message: { kind: "snapshot-start", isOtherHistory: false } });
});

test("OriginSession: a snapshot that was begun in another history begins anew and says so", () => {
  const session = new OriginSession(START_MS);
  const digest = StateDigest.parse("5".repeat(32));
  const snapshot = { ...pointAt(5), digest, after: Key.parse("m") };
  const message = {
    kind: "subscribe",
    subscription: 1,
    namespace: NAMESPACE,
    after: null,
  } as const;
  session.handle({ kind: "message", message: { ...message, snapshot }, nowMs: START_MS });
  // The same revision, and another state.
  expect(entriesRead(session, 5, ["n"], "m")).toMatchObject([
    { kind: "read-entries", after: null },
  ]);
  const [start] = entriesRead(session, 5, ["a"]);
  expect(start).toMatchObject({ message: { kind: "snapshot-start", isOtherHistory: true } });
});

test("OriginSession: the log is read behind what the node holds, by revision and digest", () => {
  const session = new OriginSession(START_MS);
  const digest = StateDigest.parse("5".repeat(32));
  const subscribe = { kind: "subscribe", namespace: NAMESPACE, after: Revision.parse(5) } as const;
  const ask = (message: MessageToOrigin): ReadonlyArray<OriginEffect> =>
    session.handle({ kind: "message", message, nowMs: START_MS });
  expect(ask({ ...subscribe, subscription: 1, digest })).toMatchObject([
    { kind: "read-log", after: { revision: 5, digest } },
  ]);
  session.handle({ kind: "log-read", subscription: 1, batches: [] });
  // A node of an older version says no digest.
  expect(kindsOf(ask({ ...subscribe, subscription: 2 }))).toEqual(["read-entries"]);
});
