import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Key } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { ValueCache } from "../values/value-cache.ts";
import type { KvCondition } from "../entry.ts";
import type { ReadDemand } from "../replication/read-demand.ts";
import { CAPABILITY_HEADER, KvFront, type KvClient, type KvUse } from "./kv-front.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const ABSENT = NamespaceId.parse("b".repeat(32));

let directory: string;
let socketPath: string;
let log: RecordedLog;
let clock: ManualClock;
let replica: LmdbReplica;
let state: TrackedState;
let values: ValueCache;
let front: KvFront;
let stored: Map<string, Buffer>;
/** What was told of calls that succeeded. */
let uses: Array<readonly [capability: string, use: KvUse, count: number]>;
/** Set by a test that wants writes to fail. */
let writeError: unknown;

/** What writes and reads asked for. */
let conditions: ReadonlyArray<KvCondition>;
let demand: ReadDemand;
/** How old the copy says that it is. */
let lagMs: number | null;

/** Takes writes straight to the replica: the way to the origin has its own tests. */
const client: KvClient = {
  write: async (namespace, operations, asked) => {
    conditions = asked;
    if (writeError !== undefined) throw writeError;
    const after = state.point.revision;
    const point = state.apply(operations);
    await replica.store(namespace, { kind: "batch", after, ...point, operations });
    return point.revision;
  },
  readable: (namespace, asked) => {
    demand = asked;
    const isHere = replica.revision(namespace) !== undefined && asked.minRevision !== 999;
    return isHere ? undefined : Promise.reject(new KvError("replica_behind", "not here yet"));
  },
  freshness: (namespace) => ({ revision: replica.revision(namespace), lagMs }),
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-front-"));
  socketPath = join(directory, "kv.sock");
  log = new RecordedLog();
  clock = new ManualClock();
  stored = new Map();
  uses = [];
  writeError = undefined;
  conditions = [];
  demand = {};
  lagMs = 12;
  replica = await LmdbReplica.open({ directory: join(directory, "replica"), clock, log });
  state = new TrackedState();
  await replica.store(NAMESPACE, { kind: "snapshot-start", ...state.point });
  await replica.store(NAMESPACE, { kind: "snapshot-end", ...state.point, through: null });
  values = await openValues();
  front = new KvFront({
    socketPath,
    resolveCapability: (capability) =>
      ({ good: NAMESPACE, absent: ABSENT })[capability] ?? undefined,
    onUse: (...use) => uses.push(use),
    replica,
    client,
    values,
    log,
  });
  await front.listen();
});
afterEach(async () => {
  await front.close();
  await values.close();
  await replica.close();
  await rm(directory, { recursive: true });
});

function openValues(): Promise<ValueCache> {
  const blobs = {
    fetch: async ({ hash }: { hash: string }) => {
      const content = stored.get(hash);
      return content && Readable.from([content]);
    },
    store: async (hash: string, file: { path: string }) =>
      void stored.set(hash, await readFile(file.path)),
  };
  return ValueCache.open({ directory: join(directory, "values"), blobs, clock, log });
}

interface Call {
  readonly method?: string;
  readonly path: string;
  readonly body?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  readonly capability?: string;
}

interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

function call({ method = "GET", path, body, headers, capability = "good" }: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      { socketPath, method, path, headers: { ...headers, [CAPABILITY_HEADER]: capability } },
      (response) => {
        const pieces: Buffer[] = [];
        response.on("data", (piece: Buffer) => pieces.push(piece));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            reason: response.statusMessage ?? "",
            headers: response.headers,
            body: Buffer.concat(pieces).toString(),
          }),
        );
        response.on("error", reject);
      },
    );
    outgoing.on("error", reject);
    // As bytes: Node would write the head of a request with a text body as UTF-8, too.
    outgoing.end(body === undefined ? undefined : Buffer.from(body));
  });
}

/** What the server says to bytes that no client of ours would send. */
function callRaw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => socket.write(text));
    let answer = "";
    socket.on("data", (piece: Buffer) => (answer += piece.toString()));
    socket.on("close", () => resolve(answer));
    socket.on("error", reject);
  });
}

function putAt(path: string, body: string | Buffer): Promise<Answer> {
  return call({ method: "PUT", path: `${path}?urlencoded=true`, body });
}

test("KvFront: calls that succeed are told of once, with whose they are and how many keys were read", async () => {
  await putAt("/a", "value");
  await call({ path: "/a?urlencoded=true" });
  await call({ path: "/nothing?urlencoded=true" });
  const keys = JSON.stringify({ keys: ["a", "b", "c"] });
  await call({ method: "POST", path: "/bulk/get", body: keys });
  await call({ path: "/?key_count_limit=10" });
  await call({ method: "DELETE", path: "/a?urlencoded=true" });
  writeError = new KvError("origin_unreachable", "not now");
  await putAt("/a", "value");
  await call({ path: "/a?urlencoded=true", capability: "stolen" });
  await call({ path: "/?key_count_limit=0" });
  expect(uses).toEqual([
    ["good", "write", 1],
    ["good", "read", 1],
    ["good", "read", 1],
    ["good", "read", 3],
    ["good", "list", 1],
    ["good", "delete", 1],
  ]);
});

test("KvFront: a value goes in and comes out with its length and metadata", async () => {
  // As the binding sends it: UTF-8, of which Node makes Latin-1.
  const headers = { "CF-KV-Metadata": Buffer.from('{"é":"☃"}').toString("latin1") };
  const path = "/a%2Fb%20c?urlencoded=true";
  const put = await call({ method: "PUT", path, body: "value", headers });
  expect([put.status, put.body]).toEqual([200, ""]);
  const got = await call({ path });
  expect(got).toMatchObject({ status: 200, body: "value" });
  expect(got.headers).toMatchObject({
    "content-length": "5",
    "cf-kv-metadata": '{"\\u00e9":"\\u2603"}',
  });
  expect((await call({ path: "/nothing?urlencoded=true" })).status).toBe(404);
  await call({ method: "DELETE", path });
  expect((await call({ path })).status).toBe(404);
});

test("KvFront: metadata that the API took with line breaks and DEL reaches the binding", async () => {
  const value = { kind: "inline", bytes: Buffer.from("value") } as const;
  const metadata = '{\r\n\t"a": "\x7f"\n}';
  await client.write(NAMESPACE, [{ kind: "put", key: Key.parse("k"), value, metadata }], []);
  const got = await call({ path: "/k?urlencoded=true" });
  expect([got.status, got.body]).toEqual([200, "value"]);
  expect(JSON.parse(String(got.headers["cf-kv-metadata"]))).toEqual({ a: "\x7f" });
});

test("KvFront: metadata with a bare DEL, as the binding sends it, is taken", async () => {
  const head = `PUT /k?urlencoded=true HTTP/1.1\r\n${CAPABILITY_HEADER}: good\r\nContent-Length: 1\r\n`;
  const answer = await callRaw(`${head}CF-KV-Metadata: "\x7f"\r\nConnection: close\r\n\r\nx`);
  expect(answer).toMatch(/^HTTP\/1.1 200 /);
  expect(replica.get(NAMESPACE, "k")?.metadata).toBe('"\x7f"');
});

test("KvFront: a key that is not escaped is taken as it is", async () => {
  await call({ method: "PUT", path: "/plain%20key", body: "x" });
  expect((await call({ path: "/plain%2520key?urlencoded=true" })).body).toBe("x");
});

test.each([
  { path: "/k", status: 403, reason: "This caller was given no namespace", capability: "made-up" },
  { path: "/k?urlencoded=true", status: 503, reason: "not here yet", capability: "absent" },
  { path: "/%ff?urlencoded=true", status: 400, reason: "Could not URL-decode key name" },
  { path: "/%zz?urlencoded=true", status: 400, reason: "Could not URL-decode key name" },
  { path: "/?cursor=k1.", status: 400, reason: 'Invalid cursor "k1.".' },
  { path: "/k", method: "POST", status: 400, reason: "POST /k is no call of the binding" },
  { path: "/?urlencoded=true", method: "PUT", status: 400, reason: "Key names must not be empty" },
  {
    path: "/bulk/get",
    method: "POST",
    body: "[",
    status: 400,
    reason: "The body of a bulk read is malformed",
  },
  {
    path: "/bulk/get",
    method: "POST",
    body: '{"keys":[]}',
    status: 400,
    reason: "You must request a minimum of 1 key",
  },
  {
    path: "/bulk/get",
    method: "POST",
    body: '{"keys":["a"],"type":"stream"}',
    status: 400,
    reason: '"stream" is not a valid type. Use "json" or "text"',
  },
  {
    path: "/bulk/get",
    method: "POST",
    body: " ".repeat(LIMITS.bulkGetBodyBytesMax + 1),
    status: 400,
    reason: `The body is longer than ${LIMITS.bulkGetBodyBytesMax} bytes`,
  },
  {
    path: "/k?urlencoded=true",
    method: "PUT",
    headers: { "CF-KV-Metadata": "{" },
    status: 400,
    reason: "Metadata must be valid JSON.",
  },
])("KvFront: $path is answered $status $reason", async ({ status, reason, ...wanted }) => {
  expect(await call(wanted)).toMatchObject({ status, reason });
  expect(log.lines).toEqual([]);
});

test("KvFront: needs no Host header, and answers what is no HTTP with 400", async () => {
  const head = `${CAPABILITY_HEADER}: good\r\nConnection: close\r\n\r\n`;
  expect(await callRaw(`GET /k?urlencoded=true HTTP/1.1\r\n${head}`)).toMatch(/^HTTP\/1.1 404 /);
  expect(await callRaw("nonsense\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
});

test("KvFront: values spill to disk past the inline limit, and are stored by hash before the write", async () => {
  const small = Buffer.alloc(LIMITS.inlineValueBytesMax, "s");
  const large = Buffer.alloc(LIMITS.inlineValueBytesMax + 1, "l");
  await putAt("/small", small);
  expect([...stored.keys()]).toEqual([]);
  await putAt("/large", large);
  const hash = createHash("sha256").update(large).digest("hex");
  expect([...stored.keys()]).toEqual([hash]);
  expect(replica.get(NAMESPACE, "large")?.value).toEqual({
    kind: "blob",
    hash,
    size: large.length,
  });
  for (const [key, value] of Object.entries({ small, large })) {
    expect((await call({ path: `/${key}?urlencoded=true` })).body).toBe(value.toString());
  }
});

test.each([
  ["cut short", (content: Buffer) => content.subarray(1)],
  ["changed in one bit", (content: Buffer) => Buffer.from(content).fill("L", 9, 10)],
])(
  "KvFront: a large value whose file was %s is answered whole and right",
  async (_what, damage) => {
    const large = Buffer.alloc(LIMITS.inlineValueBytesMax + 1, "l");
    await putAt("/large", large);
    const [hash = ""] = stored.keys();
    const path = join(directory, "values", hash);
    await writeFile(path, damage(await readFile(path)));
    const answer = await call({ path: "/large?urlencoded=true" });
    expect(answer.status).toBe(200);
    expect(answer.body === large.toString()).toBe(true);
  },
);

test("KvFront: a large value whose file shrinks while it is read is cut off, and nobody waits", async () => {
  const large = Buffer.alloc(8 * 1024 * 1024, "l");
  await putAt("/large", large);
  const [hash = ""] = stored.keys();
  const outgoing = httpRequest({
    socketPath,
    path: "/large?urlencoded=true",
    headers: { [CAPABILITY_HEADER]: "good" },
  });
  outgoing.end();
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  await truncate(join(directory, "values", hash), 4 * 1024 * 1024);
  await expect(response.resume().toArray()).rejects.toMatchObject({ code: "ECONNRESET" });
});

test("KvFront: a body over the limit is refused to the end of it, whatever it announced", async () => {
  const reason = `Value length of ${LIMITS.valueBytesMax + 1} exceeds limit of ${LIMITS.valueBytesMax}.`;
  const body = Buffer.alloc(LIMITS.valueBytesMax + 1);
  const announced = await putAt("/k", body);
  expect(announced).toMatchObject({ status: 413, reason });
  const headers = { "transfer-encoding": "chunked" };
  const path = "/k?urlencoded=true";
  const unannounced = await call({ method: "PUT", path, body, headers });
  expect([unannounced.status, unannounced.reason]).toEqual([
    413,
    expect.stringMatching(/^Value length of \d+ exceeds limit/),
  ]);
  expect(await readdir(join(directory, "values", "incoming"))).toEqual([]);
  expect((await call({ path })).status).toBe(404);
});

test("KvFront: a sender that goes away in the middle leaves nothing behind", async () => {
  const incoming = join(directory, "values", "incoming");
  const socket = connect(socketPath);
  socket.write(
    `PUT /k?urlencoded=true HTTP/1.1\r\n${CAPABILITY_HEADER}: good\r\ncontent-length: 1000000\r\n\r\n`,
  );
  socket.write(Buffer.alloc(500_000));
  await vi.waitFor(async () => expect(await readdir(incoming)).toHaveLength(1));
  socket.destroy();
  await vi.waitFor(async () => expect(await readdir(incoming)).toEqual([]));
  expect(replica.get(NAMESPACE, "k")).toBeUndefined();
});

test("KvFront: an unreachable origin is a retryable answer in one line", async () => {
  writeError = new KvError("origin_unreachable", "first line\r\nX-Injected: ☃");
  const answer = await putAt("/k", "x");
  expect(answer).toMatchObject({ status: 503, reason: "first line??X-Injected: ?" });
  expect(answer.headers["x-injected"]).toBeUndefined();
});

test("KvFront: a defect is told to the log and not to the caller", async () => {
  writeError = new TypeError("secret detail");
  expect(await putAt("/k", "x")).toMatchObject({ status: 500, reason: "internal error" });
  expect(log.lines).toEqual(["error a KV call failed: TypeError: secret detail"]);
});

test("KvFront: a large value that can't be had is an answer of its own, not a missing key", async () => {
  const value = { kind: "blob", hash: "0".repeat(64), size: 100_000 } as const;
  const key = Key.parse("lost");
  await client.write(NAMESPACE, [{ kind: "put", key, value }], []);
  expect(await call({ path: "/lost?urlencoded=true" })).toMatchObject({ status: 503 });
});

test("KvFront: values that the replica does not hold are fetched, or a 503, and never a missing key", async () => {
  const texts = { a: "A".repeat(1_000), b: "B".repeat(2_000), small: "s" };
  for (const [key, text] of Object.entries(texts)) await putAt(`/${key}`, text);
  await replica.setPartial(NAMESPACE, true);
  await replica.strip(NAMESPACE);
  const get = (key: string): Promise<Answer> => call({ path: `/${key}?urlencoded=true` });
  const bulk = (): Promise<Answer> =>
    call({ method: "POST", path: "/bulk/get", body: JSON.stringify({ keys: ["a", "none", "b"] }) });
  expect([(await get("a")).status, (await bulk()).status]).toEqual([503, 503]);
  expect(await get("small")).toMatchObject({ status: 200, body: "s" });
  expect((await get("none")).status).toBe(404);
  const listed = JSON.parse((await call({ path: "/" })).body) as { keys: unknown[] };
  expect(listed.keys).toHaveLength(3);
  for (const text of Object.values(texts)) {
    stored.set(createHash("sha256").update(text).digest("hex"), Buffer.from(text));
  }
  expect(await get("a")).toMatchObject({ status: 200, body: texts.a });
  expect(JSON.parse((await bulk()).body)).toEqual({ a: texts.a, none: null, b: texts.b });
});

test("KvFront: each answer says what it is of, and a read of a key which revision that has", async () => {
  const revision = "x-atoll-kv-revision";
  const lag = "x-atoll-kv-lag-ms";
  const entry = "x-atoll-kv-entry-revision";
  expect((await putAt("/a", "1")).headers).toMatchObject({ [revision]: "1", [entry]: "1" });
  expect((await putAt("/b", "1")).headers).toMatchObject({ [revision]: "2", [entry]: "2" });
  const a = await call({ path: "/a?urlencoded=true" });
  expect(a.headers).toMatchObject({ [revision]: "2", [lag]: "12", [entry]: "1" });
  lagMs = null;
  const absent = await call({ path: "/c?urlencoded=true" });
  expect(absent.headers).toMatchObject({ [revision]: "2", [entry]: "0" });
  expect(absent.headers[lag]).toBeUndefined();
  lagMs = 0;
  const body = JSON.stringify({ keys: ["a"] });
  for (const read of [{ path: "/" }, { method: "POST", path: "/bulk/get", body }]) {
    expect((await call(read)).headers).toMatchObject({ [revision]: "2", [lag]: "0" });
  }
  const removed = await call({ method: "DELETE", path: "/a?urlencoded=true" });
  expect(removed.headers).toMatchObject({ [revision]: "3", [entry]: "0" });
});

test("KvFront: a read asks for the freshness that its caller wants, and for the keys that it is of", async () => {
  const fresh = "min_revision=7&max_staleness_ms=250";
  const wanted = { minRevision: 7, maxStalenessMs: 250 };
  await call({ path: `/a?urlencoded=true&${fresh}` });
  expect(demand).toEqual({ keys: ["a"], ...wanted });
  await call({ path: `/?prefix=p&${fresh}` });
  expect(demand).toEqual({ prefix: "p", ...wanted });
  const body = JSON.stringify({ keys: ["a", "b"] });
  await call({ method: "POST", path: `/bulk/get?${fresh}`, body });
  expect(demand).toEqual({ keys: ["a", "b"], ...wanted });
  await call({ path: "/a?urlencoded=true" });
  expect(demand).toEqual({ keys: ["a"] });
  const refused = await call({ path: "/a?urlencoded=true&min_revision=999" });
  expect(refused).toMatchObject({
    status: 503,
    reason: "not here yet",
    headers: { "x-atoll-kv-error": "replica_behind" },
  });
  expect(refused.headers["x-atoll-kv-lag-ms"]).toBeUndefined();
});

test.each([
  ["if_revision=4", 4],
  ["if_revision=0", 0],
  ["if_revision=null", 0],
])("KvFront: a write with %s is made for that revision of its key", async (query, revision) => {
  const wanted = [{ key: "a", revision }];
  await call({ method: "PUT", path: `/a?urlencoded=true&${query}`, body: "1" });
  expect(conditions).toEqual(wanted);
  await call({ method: "DELETE", path: `/a?urlencoded=true&${query}` });
  expect(conditions).toEqual(wanted);
  await putAt("/a", "2");
  expect(conditions).toEqual([]);
});

test("KvFront: a write that came too late says which revision there is", async () => {
  const text = 'The write was for revision 4 of key "a", and found revision 5';
  writeError = new KvError("precondition_failed", text, { found: Revision.parse(5) });
  const answer = await call({ method: "PUT", path: "/a?urlencoded=true&if_revision=4", body: "1" });
  expect(answer).toMatchObject({
    status: 412,
    reason: text,
    headers: { "x-atoll-kv-error": "precondition_failed", "x-atoll-kv-entry-revision": "5" },
  });
});

test.each(["min_revision", "max_staleness_ms", "if_revision"])(
  "KvFront: what is no number is no %s",
  async (name) => {
    for (const wrong of ["", "-1", "1.5", "x", "1e3", "9".repeat(16), "null\r\n"]) {
      const path = `/k?urlencoded=true&${name}=${encodeURIComponent(wrong)}`;
      const method = name === "if_revision" ? "PUT" : "GET";
      const answer = await call({ method, path });
      expect([answer.status, answer.reason]).toEqual([
        400,
        expect.stringContaining(`Invalid ${name} of`),
      ]);
    }
  },
);

test("KvFront: times to live are counted from the origin's time, and refused before that is known", async () => {
  const path = "/k?urlencoded=true&expiration_ttl=60";
  const early = await call({ method: "PUT", path, body: "1" });
  expect([early.status, early.headers["x-atoll-kv-error"]]).toEqual([503, "origin_unreachable"]);
  const originMs = clock.nowMs() + 3_600_000;
  replica.heard({ originMs, echoMs: clock.monotonicMs() });
  expect((await call({ method: "PUT", path, body: "1" })).status).toBe(200);
  expect(replica.get(NAMESPACE, "k")?.expiresAt).toBe(Math.floor(originMs / 1_000) + 60);
});

test("KvFront: listens again where an earlier run left its socket", async () => {
  await front.close();
  await front.close();
  await front.listen();
  expect((await call({ path: "/k?urlencoded=true" })).status).toBe(404);
});
