import { hash } from "node:crypto";
import { expect, test } from "vitest";
import { Key, type HeldEntry } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { Revision } from "../names.ts";
import { ValueRead, type Look } from "./value-read.ts";

function inline(key: string, text = key): HeldEntry {
  return { key: Key.parse(key), value: { kind: "inline", bytes: Buffer.from(text) } };
}

function absent(key: string, digit = "a"): HeldEntry {
  const value = { kind: "absent", hash: digit.repeat(64), size: 200 } as const;
  return { key: Key.parse(key), value: { ...value, digest: Buffer.alloc(16, digit) } };
}

/** `inline` when its value has left the replica. */
function left(key: string): HeldEntry {
  const value = { kind: "absent", hash: hash("sha256", key), size: key.length } as const;
  return { key: Key.parse(key), value: { ...value, digest: Buffer.alloc(16) } };
}

function look(revision: number, ...entries: ReadonlyArray<HeldEntry | undefined>): Look {
  return { revision: Revision.parse(revision), entries };
}

test("ValueRead: what the replica has is answered at once", () => {
  const first = look(1, inline("a"), undefined);
  expect(new ValueRead().looked(first)).toEqual({ kind: "answer", look: first, isCurrent: true });
});

test("ValueRead: a fetched value is answered if nothing was written meanwhile, or only elsewhere", () => {
  for (const revision of [1, 2]) {
    const read = new ValueRead();
    const first = look(1, absent("a"), inline("b"));
    expect(read.looked(first)).toEqual({ kind: "fetch", entries: [absent("a")] });
    const answer = { kind: "answer", look: first, isCurrent: true };
    expect(read.looked(look(revision, absent("a"), inline("b")))).toEqual(answer);
  }
});

test.each([
  ["overwritten", absent("a", "b"), "fetch"],
  ["overwritten by a small one", inline("a"), "answer"],
  ["deleted", undefined, "answer"],
  ["given other metadata", { ...absent("a"), metadata: "1" }, "fetch"],
  ["given an expiry", { ...absent("a"), expiresAt: 1 }, "fetch"],
])("ValueRead: a key that was %s meanwhile is shown as it is now", (_how, entry, kind) => {
  const read = new ValueRead();
  read.looked(look(1, absent("a")));
  const now = look(2, entry);
  const step = read.looked(now);
  expect(step.kind).toBe(kind);
  expect(step.kind === "answer" ? step.look : now).toEqual(now);
});

test("ValueRead: a value that leaves the replica while another is fetched is answered as it was", () => {
  const read = new ValueRead();
  const first = look(1, absent("a"), inline("b"));
  read.looked(first);
  const step = read.looked(look(1, absent("a"), left("b")));
  expect(step).toEqual({ kind: "answer", look: first, isCurrent: true });
});

test("ValueRead: the same revision of another history is another state", () => {
  const read = new ValueRead();
  read.looked(look(7, absent("a")));
  const step = read.looked(look(7, absent("a", "b")));
  expect(step).toEqual({ kind: "fetch", entries: [absent("a", "b")] });
});

test("ValueRead: a value that was gone and is here again is answered", () => {
  const read = new ValueRead();
  read.looked(look(7, left("a")));
  read.failed({ at: Revision.parse(7) });
  expect(read.looked(look(7, inline("a"))).kind).toBe("answer");
});

test("ValueRead: several keys are of one revision", () => {
  const read = new ValueRead();
  read.looked(look(1, absent("a"), absent("b", "b")));
  const step = read.looked(look(3, absent("a"), absent("b", "c")));
  expect(step).toEqual({ kind: "fetch", entries: [absent("a"), absent("b", "c")] });
});

test("ValueRead: a value that is gone is waited for, and looked at again from the start", () => {
  const read = new ValueRead();
  read.looked(look(7, absent("a")));
  expect(read.failed({ at: undefined })).toEqual({ kind: "wait", past: 7 });
  expect(read.looked(look(8, undefined))).toMatchObject({ kind: "answer" });
});

test("ValueRead: it waits until the origin's revision is here, and what is still the same then is lost", () => {
  for (const at of [Revision.parse(9), Revision.parse(3)]) {
    const read = new ValueRead();
    read.looked(look(7, absent("a")));
    const past = Math.max(7, at - 1);
    expect(read.failed({ at })).toEqual({ kind: "wait", past });
    expect(read.looked(look(past + 1, absent("a")))).toEqual({ kind: "fail" });
  }
  const read = new ValueRead();
  read.looked(look(7, absent("a")));
  read.failed({ at: Revision.parse(9) });
  expect(read.looked(look(9, absent("a", "b"))).kind).toBe("fetch");
});

test("ValueRead: a fetch that failed for another reason is the end", () => {
  const read = new ValueRead();
  read.looked(look(7, absent("a")));
  expect(read.failed()).toEqual({ kind: "fail" });
});

test("ValueRead: looks only so often, and then answers what it fetched last, or gives up", () => {
  const read = new ValueRead();
  const losing = new ValueRead();
  for (let round = 1; round <= LIMITS.valueReadsMax; round += 1) {
    const entry = absent("a", String(round));
    expect(read.looked(look(round, entry)).kind).toBe("fetch");
    expect(losing.looked(look(round, entry)).kind).toBe("fetch");
    const isLast = round === LIMITS.valueReadsMax;
    expect(losing.failed({ at: undefined }).kind).toBe(isLast ? "fail" : "wait");
  }
  expect(read.looked(look(100, absent("a", "f")))).toEqual({
    kind: "answer",
    look: look(LIMITS.valueReadsMax, absent("a", String(LIMITS.valueReadsMax))),
    isCurrent: false,
  });
});
