import { Random } from "@atoll/kv-store/test-support/random";
import { expect, test } from "vitest";
import { checkHistory } from "./check-history.ts";
import {
  ANOMALIES,
  PRESENT,
  type AnomalyKind,
  type History,
  type Operation,
  type Seen,
} from "./history.ts";
import { soundHistory } from "./sound-history.ts";

const SEEDS = 300;
const STEPS = 120;

interface Given {
  readonly node?: string;
  readonly session?: string;
  /** When it was asked, and when it was answered. */
  readonly at: readonly [number, number];
}

function asked({ node = "iad", session = `${node}/0`, at: [invokedMs, completedMs] }: Given) {
  return { node, session, invokedMs, completedMs };
}

function put(key: string, value: string | null, given: Given): Operation {
  return { kind: "write", key, value, outcome: "acknowledged", ...asked(given) };
}

function lostPut(key: string, value: string | null, given: Given): Operation {
  return { kind: "write", key, value, outcome: "unknown", ...asked(given) };
}

function refusedPut(key: string, value: string, given: Given): Operation {
  return { kind: "write", key, value, outcome: "refused", ...asked(given) };
}

function read(seen: Readonly<Record<string, Seen>>, given: Given): Operation {
  return { kind: "read", seen: new Map(Object.entries(seen)), ...asked(given) };
}

/** A history whose order is these puts and deletes, written `key=value` and `key=`. */
function historyOf(order: string, operations: ReadonlyArray<Operation>): History {
  const log = order.split(" ").map((write, index) => {
    const [key = "", value = ""] = write.split("=");
    return { revision: index + 1, key, value: value === "" ? null : value };
  });
  return { log, operations, restarts: new Map(), finals: new Map() };
}

function kindsOf(history: History): ReadonlyArray<AnomalyKind> {
  return [...new Set(checkHistory(history).map(({ kind }) => kind))];
}

const FIRST = put("a", "1", { at: [0, 10] });
const WRITES = [FIRST, put("b", "2", { at: [20, 30] })];

interface Plant {
  readonly kind: AnomalyKind;
  readonly when: string;
  readonly history: History;
}

const PLANTS = (
  [
    [
      "revision-gap",
      "a revision is left out",
      { ...historyOf("a=1", WRITES), log: [{ revision: 2, key: "a", value: "1" }] },
    ],
    ["lost-write", "an acknowledged put is not in the order", historyOf("a=1", WRITES)],
    [
      "lost-write",
      "of two acknowledged deletes one is in the order",
      historyOf("a=1 b=2 a=", [
        ...WRITES,
        put("a", null, { at: [40, 50] }),
        put("a", null, { node: "fra", at: [41, 51] }),
      ]),
    ],
    ["applied-twice", "a put is ordered again", historyOf("a=1 b=2 a=1", WRITES)],
    ["phantom-write", "a put of nobody is ordered", historyOf("a=1 b=2 c=3", WRITES)],
    ["phantom-write", "a delete of nobody is ordered", historyOf("a=1 b=2 a=", WRITES)],
    [
      "refused-write",
      "a refused put is ordered",
      historyOf("a=1 b=2 c=3", [...WRITES, refusedPut("c", "3", { at: [40, 50] })]),
    ],
    ["write-order", "a later put of the session is ordered first", historyOf("b=2 a=1", WRITES)],
    [
      "write-order",
      "a put of another node that began after the answer is ordered first",
      historyOf("b=2 a=1", [
        put("a", "1", { at: [0, 10] }),
        put("b", "2", { node: "fra", at: [11, 12] }),
      ]),
    ],
    [
      "phantom-read",
      "a read shows a value of another key",
      historyOf("a=1 b=2", [...WRITES, read({ a: "2" }, { at: [40, 50] })]),
    ],
    [
      "phantom-read",
      "a listing shows a key that never was",
      historyOf("a=1 b=2", [...WRITES, read({ c: PRESENT }, { at: [40, 50] })]),
    ],
    [
      "future-read",
      "a read shows what is written only later",
      historyOf("a=1 b=2", [...WRITES, read({ b: "2" }, { node: "fra", at: [12, 15] })]),
    ],
    [
      "torn-read",
      "one answer has the new of one key and the old of a key written before",
      historyOf("a=1 b=2", [...WRITES, read({ a: null, b: "2" }, { node: "fra", at: [40, 50] })]),
    ],
    [
      "stale-own-write",
      "a node does not show what another session wrote there",
      historyOf("a=1 b=2", [...WRITES, read({ b: null }, { session: "iad/1", at: [40, 50] })]),
    ],
    [
      "stale-own-write",
      "a session does not show what it wrote in the same millisecond",
      historyOf("a=1", [put("a", "1", { at: [5, 5] }), read({ a: null }, { at: [5, 5] })]),
    ],
    [
      "stale-own-write",
      "a node shows what was deleted there",
      historyOf("a=1 a=", [
        put("a", "1", { at: [0, 10] }),
        put("a", null, { at: [20, 30] }),
        read({ a: "1" }, { at: [40, 50] }),
      ]),
    ],
    [
      "backwards-read",
      "another session of the node is shown the older value of the key",
      historyOf("a=1 b=2", [
        ...WRITES,
        read({ a: "1" }, { node: "fra", at: [40, 50] }),
        read({ a: null }, { node: "fra", session: "fra/1", at: [51, 60] }),
      ]),
    ],
    [
      "prefix-break",
      "a node shows a key, and then not one that was written before it",
      historyOf("a=1 b=2", [
        ...WRITES,
        read({ b: "2" }, { node: "fra", at: [40, 50] }),
        read({ a: null }, { node: "fra", at: [60, 70] }),
      ]),
    ],
    [
      "diverged-node",
      "a node lacks a key at the end",
      { ...historyOf("a=1 b=2", WRITES), finals: new Map([["fra", new Map([["a", "1"]])]]) },
    ],
    [
      "diverged-node",
      "a node has a key at the end that is deleted",
      {
        ...historyOf("a=1 a=", [FIRST, put("a", null, { at: [40, 50] })]),
        finals: new Map([["fra", new Map([["a", "1"]])]]),
      },
    ],
  ] satisfies ReadonlyArray<readonly [AnomalyKind, string, History]>
).map(([kind, when, history]): Plant => ({ kind, when, history }));

test.each(PLANTS)("history check: finds $kind when $when", ({ kind, history }) => {
  expect(kindsOf(history)).toContain(kind);
});

test.each<readonly [string, History]>([
  [
    "reads that overlap show two keys in either order",
    historyOf("a=1 b=2", [
      ...WRITES,
      read({ b: "2" }, { node: "fra", at: [40, 50] }),
      read({ a: null }, { node: "fra", session: "fra/1", at: [45, 60] }),
    ]),
  ],
  [
    "what ended in the millisecond in which the next began may have ended later",
    historyOf("a=1 b=2", [
      ...WRITES,
      read({ a: "1" }, { node: "fra", at: [40, 50] }),
      read({ a: null }, { node: "fra", session: "fra/1", at: [50, 60] }),
    ]),
  ],
  [
    "another node is behind",
    historyOf("a=1 b=2", [...WRITES, read({ a: null, b: null }, { node: "fra", at: [40, 50] })]),
  ],
  [
    "a node has a write of its own, and not yet another key's that came before it",
    historyOf("b=2 a=1", [
      put("b", "2", { node: "fra", at: [0, 10] }),
      put("a", "1", { at: [20, 30] }),
      read({ b: null }, { at: [40, 50] }),
    ]),
  ],
  [
    "a node that was started anew has not yet what was written there before",
    {
      ...historyOf("a=1", [FIRST, read({ a: null }, { at: [40, 50] })]),
      restarts: new Map([["iad", [30]]]),
    },
  ],
  [
    "a write without an answer happened",
    historyOf("a=1 b=2", [FIRST, lostPut("b", "2", { at: [20, Infinity] })]),
  ],
  [
    "a write without an answer did not happen",
    historyOf("a=1", [
      FIRST,
      lostPut("b", "2", { at: [20, Infinity] }),
      read({ b: null }, { at: [40, 50] }),
    ]),
  ],
  [
    "a key is absent again, for the second of two reasons",
    historyOf("a=1 a= a=2 a=", [
      put("a", "1", { at: [0, 10] }),
      put("a", null, { at: [20, 30] }),
      put("a", "2", { at: [40, 50] }),
      read({ a: "2" }, { node: "fra", at: [60, 70] }),
      put("a", null, { at: [80, 90] }),
      read({ a: null }, { node: "fra", at: [100, 110] }),
    ]),
  ],
])("history check: finds nothing when %s", (_when, history) => {
  expect(checkHistory(history)).toEqual([]);
});

test("history check: every kind of anomaly is planted above", () => {
  const planted = new Set(PLANTS.map(({ kind }) => kind));
  expect([...planted].toSorted()).toEqual(Object.keys(ANOMALIES).toSorted());
});

test("history check: finds nothing in what a store does that keeps its promises", () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const history = soundHistory(new Random(seed), STEPS);
    expect(checkHistory(history), `seed ${seed}`).toEqual([]);
  }
});

test("history check: finds it when one write of many, acknowledged, is missing from the order", () => {
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const history = soundHistory(new Random(seed), STEPS);
    const lost = new Random(seed).pick(
      history.operations.filter(
        (each) => each.kind === "write" && each.outcome === "acknowledged" && each.value !== null,
      ),
    );
    const log = history.log
      .filter(({ value }) => lost.kind !== "write" || value !== lost.value)
      .map((write, index) => ({ ...write, revision: index + 1 }));
    expect(kindsOf({ ...history, log }), `seed ${seed}`).toContain("lost-write");
  }
});

test("history check: finds it when a node goes back once, in the middle of all the rest", () => {
  let found = 0;
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const history = soundHistory(new Random(seed), STEPS);
    const values = history.log.flatMap(({ key, value }) =>
      key === "a" && value !== null ? [value] : [],
    );
    const [oldest, newest] = [values[0], values.at(-1)];
    if (oldest === undefined || oldest === newest) continue;
    const end: Given = { node: "nrt", at: [1_000_000, 1_000_001] };
    const last = read({ a: newest ?? null }, end);
    const back = read({ a: oldest }, { ...end, session: "nrt/1", at: [1_000_003, 1_000_004] });
    const operations = [...history.operations, last, back];
    expect(kindsOf({ ...history, operations }), `seed ${seed}`).not.toEqual([]);
    found += 1;
  }
  expect(found).toBeGreaterThan(SEEDS / 2);
});
