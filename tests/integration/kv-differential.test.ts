import { Random } from "@atoll/kv-store/test-support/random";
import { afterAll, beforeAll, expect, test } from "vitest";
import { REGIONS, send, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { KvWorker, type KvOutcome } from "../support/kv-worker.ts";
import { copyFixture, type TestProject } from "../support/project.ts";
import { startWranglerDev, type WranglerDev } from "../support/wrangler-dev.ts";

const MIB = 1024 * 1024;
const FAR = 4_000_000_000;
const RANDOM_CALLS = 300;

/** A call of the binding; `CURSOR` stands for what the listing before gave. */
type Call = readonly [method: string, ...parameters: ReadonlyArray<unknown>];
const CURSOR = "the cursor before";

interface Case {
  readonly title: string;
  readonly calls: ReadonlyArray<Call>;
}

const bytes = Buffer.from([0, 1, 127, 128, 254, 255]).toString("base64");
const json = '{"n":[1,"ü",null]}';
const filled: ReadonlyArray<Call> = [
  ["put", "page/a", "1", { metadata: { n: 1 } }],
  ["put", "page/b", "2", { expiration: FAR }],
  ["put", "page/c", "3", { expiration: FAR, metadata: "text" }],
  ["put", "page/ü", "4"],
  ["put", "page/\ufffd", "5"],
  ["put", "page/\u{10000}", "6"],
  ["put", "pagf", "7"],
];

const CASES: ReadonlyArray<Case> = [
  {
    title: "values of every type, read as every type",
    calls: [
      ["put", "t/text", "grüße 🏝"],
      ["put", "t/json", json],
      ["put", "t/bytes", { $bytes: bytes }],
      ["put", "t/stream", { $stream: "streamed" }],
      ["put", "t/empty", ""],
      ["put", "t/large", { $length: 3 * MIB }],
      ["put", "t/inline", { $length: 64 * 1024 }],
      ["put", "t/spilled", { $length: 64 * 1024 + 1 }],
      ...["text", "json", "bytes", "stream", "empty", "large", "inline", "spilled", "none"].flatMap(
        (name): Call[] => [
          ["get", `t/${name}`],
          ["get", `t/${name}`, "text"],
          ["get", `t/${name}`, "json"],
          ["get", `t/${name}`, "arrayBuffer"],
          ["get", `t/${name}`, "stream"],
          ["get", `t/${name}`, { type: "arrayBuffer", cacheTtl: 30 }],
          ["getWithMetadata", `t/${name}`],
          ["getWithMetadata", `t/${name}`, "json"],
          ["getWithMetadata", `t/${name}`, "arrayBuffer"],
          ["getWithMetadata", `t/${name}`, "stream"],
        ],
      ),
    ],
  },
  {
    title: "metadata of every kind",
    calls: [
      null,
      true,
      0,
      "",
      "text",
      [],
      {},
      { deep: [{ é: "☃ \u2028 \x7f" }] },
      "m".repeat(1_022),
    ]
      .entries()
      .flatMap(([index, metadata]): Call[] => [
        ["put", `m/${index}`, "v", { metadata }],
        ["getWithMetadata", `m/${index}`],
        ["list", { prefix: `m/${index}` }],
      ])
      .toArray(),
  },
  {
    title: "a put replaces value, metadata and expiration; a delete removes all",
    calls: [
      ["put", "r", "1", { metadata: 1, expiration: FAR }],
      ["list", { prefix: "r" }],
      ["put", "r", "2"],
      ["getWithMetadata", "r"],
      ["list", { prefix: "r" }],
      ["delete", "r"],
      ["get", "r"],
      ["delete", "r"],
      ["list", { prefix: "r" }],
    ],
  },
  {
    title: "keys of any text",
    calls: [
      "a/b",
      "a b",
      "a%2Fb",
      "a?b#c",
      "…",
      "\n",
      "\0",
      "🏝",
      "__proto__",
      "k".repeat(512),
      "\ud800",
    ]
      .flatMap((name): Call[] => [
        ["put", `k/${name}`.slice(-512), `at ${name}`],
        ["get", `k/${name}`.slice(-512)],
        ["get", [`k/${name}`.slice(-512), "k/none"]],
      ])
      .concat([
        ["list", { prefix: "k/" }],
        ["list", { prefix: "k/a" }],
      ]),
  },
  {
    title: "listings by prefix, limit and cursor",
    calls: [
      ...filled,
      ["list", { prefix: "page/" }],
      ["list", { prefix: "page/", limit: 1_000 }],
      ["list", { prefix: "page/", limit: 2 }],
      ["list", { prefix: "page/", limit: 2, cursor: CURSOR }],
      ["list", { prefix: "page/", limit: 2, cursor: CURSOR }],
      ["list", { prefix: "page/", limit: 5 }],
      ["list", { prefix: "page/", limit: 5, cursor: CURSOR }],
      ["list", { prefix: "page/", limit: 6 }],
      ["list", { prefix: "page/", cursor: "" }],
      ["list", { prefix: "page/", cursor: null }],
      ["list", { prefix: "nothing" }],
      ["list", { prefix: null, limit: 1 }],
      ["list", { prefix: "page/", limit: 3 }],
      ["delete", "page/c"],
      ["put", "page/bb", "8"],
      ["list", { prefix: "page/", limit: 3, cursor: CURSOR }],
    ],
  },
  {
    title: "several keys at once",
    calls: [
      ["put", "b/1", "1", { metadata: { m: 1 } }],
      ["put", "b/2", "[2]"],
      ["put", "b/text", "no json"],
      ["put", "b/empty", ""],
      ["put", "b/big1", { $length: 13 * MIB }],
      ["put", "b/big2", { $length: 13 * MIB }],
      ["get", ["b/2", "b/none", "b/1"]],
      ["get", ["b/1", "b/1"]],
      ["get", ["b/2", "b/1"], "json"],
      ["get", ["b/2", "b/1"], { type: "json", cacheTtl: 60 }],
      ["getWithMetadata", ["b/2", "b/none", "b/1"]],
      ["getWithMetadata", ["b/2", "b/1"], "json"],
      ["get", ["b/empty"]],
      ["get", ["b/empty"], "json"],
      ["get", ["b/text"], "json"],
      ["get", ["b/text"], "arrayBuffer"],
      ["get", ["b/text"], "stream"],
      ["get", []],
      ["get", Array.from({ length: 100 }, (_, index) => `b/${index}`)],
      ["get", Array.from({ length: 101 }, (_, index) => `b/${index}`)],
      ["get", ["b/1", ""]],
      ["get", ["b/1", "."]],
      ["get", ["b/1", "k".repeat(513)]],
      ["get", ["b/1"], { cacheTtl: 29 }],
      ["get", ["b/big1", "b/big2"]],
    ],
  },
  {
    title: "bad keys",
    calls: ["", ".", "..", "k".repeat(513), "ü".repeat(257)].flatMap((name): Call[] => [
      ["get", name],
      ["getWithMetadata", name],
      ["put", name, "v"],
      ["delete", name],
      ["list", { prefix: name, limit: 1 }],
    ]),
  },
  {
    title: "bad values and metadata",
    calls: [
      ["put", "bad", { $length: 25 * MIB + 1 }],
      ["put", "bad", { $stream: "x".repeat(25 * MIB + 1) }],
      ["put", "bad", "v", { metadata: "m".repeat(1_023) }],
      ["put", "bad", null],
      ["put", "bad", 7],
      ["put", "bad", { an: "object" }],
      ["put", "bad"],
      ["get", "bad"],
      ["put", "most", { $length: 25 * MIB }],
      ["delete", "most"],
    ],
  },
  {
    title: "bad expirations",
    calls: [
      ...[0, -1, 1, 59, 60.5, "60", "soon", null, 1e15].map((expirationTtl): Call => [
        "put",
        "e",
        "v",
        { expirationTtl },
      ]),
      ...[0, -1, 5, 1e15, `${FAR}`, "soon", null].map((expiration): Call => [
        "put",
        "e",
        "v",
        { expiration },
      ]),
      ["put", "e", "v", { expiration: 5, expirationTtl: 60 }],
      ["put", "e", "v", { expiration: FAR, expirationTtl: 59 }],
      ["delete", "e"],
    ],
  },
  {
    title: "bad options of reads",
    calls: [
      ...[0, -1, 29, 30, 30.9, "30", "long", null].map((cacheTtl): Call => [
        "get",
        "o",
        { cacheTtl },
      ]),
      ["get", "o", "xml"],
      ["get", "o", { type: "xml" }],
      ["getWithMetadata", "o", { cacheTtl: 29 }],
      ["get"],
      ["get", null],
      ["get", 7],
    ],
  },
  {
    title: "bad options of listings",
    calls: [
      ...[0, -1, 1.5, 1_000, 1_001, "10", "many", null].map((limit): Call => [
        "list",
        { prefix: "none", limit },
      ]),
      ["list", { prefix: "none", cursor: "made up" }],
      ["list", { prefix: "none", cursor: 7 }],
      ["list", "none"],
      ["list", null],
    ],
  },
];

/** Where Atoll answers otherwise than Miniflare, each with the reason why that is right. */
const DIFFERENCES: ReadonlyArray<{
  readonly reason: string;
  readonly applies: (call: Call, ours: KvOutcome, theirs: KvOutcome) => boolean;
}> = [
  {
    reason:
      "Miniflare takes any text as a cursor and lists from somewhere; Workers KV refuses one that it did not make",
    applies: ([method], { error }, { result }) =>
      method === "list" &&
      error?.startsWith("KV GET failed: 400 Invalid cursor ") === true &&
      result !== null,
  },
];

let atoll: TestAtoll;
let project: TestProject;
let dev: WranglerDev;
let ours: KvWorker;
const usedDifferences = new Set<string>();

beforeAll(async () => {
  atoll = await startAtoll();
  ours = await KvWorker.deploy(atoll, { title: "differential" });
  project = await copyFixture("kv");
  await project.edit("wrangler.jsonc", { from: "NAMESPACE", to: ours.namespace });
  dev = await startWranglerDev(project.directory);
});
afterAll(async () => {
  await dev?.stop();
  await atoll.stop();
  await project.remove();
});

async function inMiniflare([method, ...parameters]: Call): Promise<KvOutcome> {
  const body = JSON.stringify({ method, parameters });
  const answer = await send(`${dev.url}/`, { method: "POST", body });
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body.slice(0, 300)}`);
  return JSON.parse(answer.body) as KvOutcome;
}

function inAtoll([method, ...parameters]: Call): Promise<KvOutcome> {
  return ours.call(REGIONS[0], method, ...parameters);
}

/** Makes calls in both, one after another, and compares what came of each. */
class Comparison {
  /** What differs and is not in the table. */
  readonly unexplained: object[] = [];
  #cursors: readonly [unknown, unknown] = [undefined, undefined];

  async make(call: Call): Promise<void> {
    const [here, there] = await Promise.all([
      inAtoll(withCursor(call, this.#cursors[0])),
      inMiniflare(withCursor(call, this.#cursors[1])),
    ]);
    if (call[0] === "list") this.#cursors = [cursorOf(here), cursorOf(there)];
    const [shownHere, shownThere] = [withoutCursor(here), withoutCursor(there)];
    if (JSON.stringify(shownHere) === JSON.stringify(shownThere)) return;
    const known = DIFFERENCES.find(({ applies }) => applies(call, here, there));
    if (known !== undefined) return void usedDifferences.add(known.reason);
    this.unexplained.push({
      call: shorten(call),
      ours: shorten(shownHere),
      theirs: shorten(shownThere),
    });
  }
}

function withCursor([method, ...parameters]: Call, cursor: unknown): Call {
  const given = parameters.map((parameter) =>
    isContinued(parameter) ? { ...parameter, cursor } : parameter,
  );
  return [method, ...given];
}

function shorten(what: unknown): string {
  return JSON.stringify(what).slice(0, 300);
}

function isContinued(parameter: unknown): parameter is { readonly cursor: string } {
  return parameter instanceof Object && "cursor" in parameter && parameter.cursor === CURSOR;
}

function cursorOf({ result }: KvOutcome): unknown {
  return result instanceof Object && "cursor" in result ? result.cursor : undefined;
}

/** What a cursor looks like is each store's own business. */
function withoutCursor(outcome: KvOutcome): KvOutcome {
  if (cursorOf(outcome) === undefined) return outcome;
  return { ...outcome, result: { ...(outcome.result as object), cursor: "…" } };
}

test.each(CASES)("KV beside Miniflare's: $title", async ({ calls }) => {
  const comparison = new Comparison();
  for (const call of calls) await comparison.make(call);
  expect(comparison.unexplained).toEqual([]);
});

test("KV beside Miniflare's: calls at random", async () => {
  const random = new Random(20261126);
  const comparison = new Comparison();
  const names = Array.from({ length: 12 }, (_, index) => `z/${"abc"[index % 3]}/${index}`);
  for (let count = 0; count < RANDOM_CALLS; count += 1)
    await comparison.make(randomCall(random, names));
  expect(comparison.unexplained).toEqual([]);
});

function randomCall(random: Random, names: ReadonlyArray<string>): Call {
  const name = random.pick(names);
  const several = names.filter(() => random.chance(0.3));
  const prefix = random.pick(["z/", "z/a", "z/b/", "z/c/1"]);
  return random.pick<Call>([
    ["put", name, `value ${random.below(1_000)}`],
    ["put", name, String(random.below(1_000)), { metadata: { n: random.below(9) } }],
    ["put", name, "dated", { expiration: FAR + random.below(9) }],
    ["delete", name],
    ["get", name],
    ["get", name, "arrayBuffer"],
    ["getWithMetadata", name],
    ["getWithMetadata", [name, ...several]],
    ["list", { prefix }],
    ["list", { prefix, limit: 1 + random.below(5) }],
  ]);
}

test("KV beside Miniflare's: every difference that is listed is one", () => {
  expect([...usedDifferences].toSorted()).toEqual(
    DIFFERENCES.map(({ reason }) => reason).toSorted(),
  );
});
