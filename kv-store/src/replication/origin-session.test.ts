import { expect, test } from "vitest";
import { Key, type KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { encodeBatches, encodeWrite } from "./batch.ts";
import { OriginSession, type OriginEffect } from "./origin-session.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const START_MS = 1_000_000;
const LARGE = Buffer.alloc(LIMITS.inlineValueBytesMax);

function records(after: number, count: number): KvRecord[] {
  const value = { kind: "inline", bytes: LARGE } as const;
  return Array.from({ length: count }, (_, index) => ({
    revision: Revision.parse(after + 1 + index),
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
  const again = { kind: "read-log", subscription: 1, namespace: NAMESPACE, after: 7 };
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
  expect(kindsOf(session.handle({ kind: "tick", nowMs }))).toContain("open-snapshot");
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

test("OriginSession: a snapshot that is no longer wanted is closed", () => {
  const session = subscribed(null);
  const revision = Revision.parse(3);
  session.handle({ kind: "snapshot-opened", subscription: 1, revision });
  const message = { kind: "unsubscribe", subscription: 1 } as const;
  const effects = session.handle({ kind: "message", message, nowMs: START_MS });
  expect(kindsOf(effects)).toEqual(["close-snapshot"]);
});
