import { afterEach, beforeEach, expect, test } from "vitest";
import { Key } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { FrontBench, NAMESPACE } from "../test-support/front-bench.ts";
import { CAPABILITY_HEADER } from "./kv-front.ts";

let bench: FrontBench;
beforeEach(async () => {
  bench = await FrontBench.open();
});
afterEach(() => bench.close());

test("KvFront: calls that succeed are told of once, with whose they are and how many keys were read", async () => {
  await bench.putAt("/a", "value");
  await bench.call({ path: "/a?urlencoded=true" });
  await bench.call({ path: "/nothing?urlencoded=true" });
  const keys = JSON.stringify({ keys: ["a", "b", "c"] });
  await bench.call({ method: "POST", path: "/bulk/get", body: keys });
  await bench.call({ path: "/?key_count_limit=10" });
  await bench.call({ method: "DELETE", path: "/a?urlencoded=true" });
  bench.writeError = new KvError("origin_unreachable", "not now");
  await bench.putAt("/a", "value");
  await bench.call({ path: "/a?urlencoded=true", capability: "stolen" });
  await bench.call({ path: "/?key_count_limit=0" });
  expect(bench.uses).toEqual([
    ["good", "write", 1],
    ["good", "read", 1],
    ["good", "read", 1],
    ["good", "read", 3],
    ["good", "list", 1],
    ["good", "delete", 1],
  ]);
});

test("KvFront: what is used up of a day is refused as too many requests, and nothing else is", async () => {
  await bench.putAt("/a", "value");
  const [get, list] = [{ path: "/a?urlencoded=true" }, { path: "/?key_count_limit=10" }];
  const bulkGet = { method: "POST", path: "/bulk/get", body: JSON.stringify({ keys: ["a"] }) };
  bench.uses.splice(0);
  bench.usedUp = { read: 5 };
  const text = (call: string, bound: string) =>
    `Too Many Requests: KV ${call} limit exceeded for the day. The account may make ${bound} until midnight UTC.`;
  for (const call of [get, bulkGet]) {
    const { status, reason, headers } = await bench.call(call);
    expect([status, reason]).toEqual([429, text("get()", "5 reads")]);
    expect(headers["x-atoll-kv-error"]).toBe("daily_reads_exceeded");
  }
  expect((await bench.call(list)).status).toBe(200);
  bench.usedUp = { list: 0 };
  const refused = await bench.call(list);
  expect([refused.status, refused.reason]).toEqual([429, text("list()", "0 lists")]);
  expect(refused.headers["x-atoll-kv-error"]).toBe("daily_lists_exceeded");
  for (const call of [get, bulkGet]) expect((await bench.call(call)).status).toBe(200);
  await bench.putAt("/b", "value");
  await bench.call({ method: "DELETE", path: "/a?urlencoded=true" });
  expect(bench.uses.map(([, use]) => use)).toEqual(["list", "read", "read", "write", "delete"]);
});

test("KvFront: a value goes in and comes out with its length and metadata", async () => {
  // As the binding sends it: UTF-8, of which Node makes Latin-1.
  const headers = { "CF-KV-Metadata": Buffer.from('{"é":"☃"}').toString("latin1") };
  const path = "/a%2Fb%20c?urlencoded=true";
  const put = await bench.call({ method: "PUT", path, body: "value", headers });
  expect([put.status, put.body]).toEqual([200, ""]);
  const got = await bench.call({ path });
  expect(got).toMatchObject({ status: 200, body: "value" });
  expect(got.headers).toMatchObject({
    "content-length": "5",
    "cf-kv-metadata": '{"\\u00e9":"\\u2603"}',
  });
  expect((await bench.call({ path: "/nothing?urlencoded=true" })).status).toBe(404);
  await bench.call({ method: "DELETE", path });
  expect((await bench.call({ path })).status).toBe(404);
});

test("KvFront: metadata that the API took with line breaks and DEL reaches the binding", async () => {
  const value = { kind: "inline", bytes: Buffer.from("value") } as const;
  const metadata = '{\r\n\t"a": "\x7f"\n}';
  await bench.client.write(NAMESPACE, [{ kind: "put", key: Key.parse("k"), value, metadata }], []);
  const got = await bench.call({ path: "/k?urlencoded=true" });
  expect([got.status, got.body]).toEqual([200, "value"]);
  expect(JSON.parse(String(got.headers["cf-kv-metadata"]))).toEqual({ a: "\x7f" });
});

test("KvFront: metadata with a bare DEL, as the binding sends it, is taken", async () => {
  const head = `PUT /k?urlencoded=true HTTP/1.1\r\n${CAPABILITY_HEADER}: good\r\nContent-Length: 1\r\n`;
  const answer = await bench.callRaw(`${head}CF-KV-Metadata: "\x7f"\r\nConnection: close\r\n\r\nx`);
  expect(answer).toMatch(/^HTTP\/1.1 200 /);
  expect(bench.replica.get(NAMESPACE, "k")?.metadata).toBe('"\x7f"');
});

test("KvFront: a key that is not escaped is taken as it is", async () => {
  await bench.call({ method: "PUT", path: "/plain%20key", body: "x" });
  expect((await bench.call({ path: "/plain%2520key?urlencoded=true" })).body).toBe("x");
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
  expect(await bench.call(wanted)).toMatchObject({ status, reason });
  expect(bench.log.lines).toEqual([]);
});

test("KvFront: needs no Host header, and answers what is no HTTP with 400", async () => {
  const head = `${CAPABILITY_HEADER}: good\r\nConnection: close\r\n\r\n`;
  expect(await bench.callRaw(`GET /k?urlencoded=true HTTP/1.1\r\n${head}`)).toMatch(
    /^HTTP\/1.1 404 /,
  );
  expect(await bench.callRaw("nonsense\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
});

test("KvFront: an unreachable origin is a retryable answer in one line", async () => {
  bench.writeError = new KvError("origin_unreachable", "first line\r\nX-Injected: ☃");
  const answer = await bench.putAt("/k", "x");
  expect(answer).toMatchObject({ status: 503, reason: "first line??X-Injected: ?" });
  expect(answer.headers["x-injected"]).toBeUndefined();
});

test("KvFront: a defect is told to the log and not to the caller", async () => {
  bench.writeError = new TypeError("secret detail");
  expect(await bench.putAt("/k", "x")).toMatchObject({ status: 500, reason: "internal error" });
  expect(bench.log.lines).toEqual(["error a KV call failed: TypeError: secret detail"]);
});

test("KvFront: listens again where an earlier run left its socket", async () => {
  await bench.front.close();
  await bench.front.close();
  await bench.front.listen();
  expect((await bench.call({ path: "/k?urlencoded=true" })).status).toBe(404);
});
