import { LIMITS as KV_LIMITS } from "@atoll/kv-store";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { type Answer, ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { NamespaceApi } from "../test-support/namespace-api.ts";

let api: ControlPlaneApi;
let words: NamespaceApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  words = await NamespaceApi.create(api);
});
afterEach(() => api.close());

const put = (entries: unknown): Promise<Answer> =>
  words.call("PUT", "/bulk", JSON.stringify(entries));
const get = (body: unknown): Promise<Answer> =>
  words.call("POST", "/bulk/get", JSON.stringify(body));

test("bulk write: text, base64, metadata and expiry arrive as from single writes", async () => {
  const nowSeconds = api.clock.nowMs() / 1_000;
  const large = Buffer.alloc(KV_LIMITS.inlineValueBytesMax + 1, 255);
  expect(
    await put([
      { key: "text", value: "ü", metadata: { a: 1 }, expiration_ttl: 60 },
      { key: "bytes", value: "AP/+", base64: true, expiration: nowSeconds + 100 },
      { key: "large", value: large.toString("base64"), base64: true },
      { key: "text twice", value: "1", type: "ignored" },
      { key: "text twice", value: "2" },
    ]),
  ).toMatchObject({ status: 200, result: { successful_key_count: 5, unsuccessful_keys: [] } });
  const bytes = await words.fetch(`/values/bytes`);
  expect(bytes.headers.get("expiration")).toBe(String(nowSeconds + 100));
  expect(Buffer.from(await bytes.arrayBuffer())).toEqual(Buffer.from([0, 255, 254]));
  const blob = await words.fetch(`/values/large`);
  expect(Buffer.from(await blob.arrayBuffer()).equals(large)).toBe(true);
  expect(await get({ keys: ["text", "text twice", "none"], withMetadata: true })).toMatchObject({
    result: {
      values: {
        text: { value: "ü", metadata: { a: 1 }, expiration: nowSeconds + 60 },
        "text twice": { value: "2", metadata: null },
        none: null,
      },
    },
  });
});

test("bulk write: one wrong entry is named, and nothing of the call is written", async () => {
  const good = { key: "good", value: "v" };
  const long = "k".repeat(513);
  const wrong: ReadonlyArray<readonly [code: number, entry: unknown]> = [
    [10_042, { key: "", value: "v" }],
    [10_042, { key: "..", value: "v" }],
    [10_042, { key: "\ud800", value: "v" }],
    [10_030, { key: long, value: "v" }],
    [10_012, { key: "k", value: "AP/+?", base64: true }],
    [10_012, { key: "k", value: "\ud800" }],
    [10_034, { key: "k", value: "v", expiration_ttl: 59 }],
    [10_033, { key: "k", value: "v", expiration: 5 }],
    [10_047, { key: "k", value: "v", metadata: "m".repeat(1_023) }],
    [10_029, { key: "k", value: 5 }],
    [10_029, { key: "k" }],
    [10_029, "k"],
  ];
  for (const [code, entry] of wrong) {
    const answer = await put([good, entry, good]);
    expect(answer.errors[0]).toMatchObject({ code, message: expect.stringMatching(/^entry 1\b/) });
  }
  expect(await words.names()).toEqual([]);
});

test("bulk write: 10,000 entries are written, one more is refused", async () => {
  const entries = Array.from({ length: 10_001 }, (_, index) => ({ key: `k${index}`, value: "v" }));
  expect(await put(entries)).toMatchObject({
    status: 413,
    errors: [{ code: 10_024, message: expect.stringMatching(/10001.*10000/) }],
  });
  expect(await words.names()).toEqual([]);
  expect(await put(entries.slice(1))).toMatchObject({ result: { successful_key_count: 10_000 } });
  expect(await put([])).toMatchObject({ status: 200, result: { successful_key_count: 0 } });
});

test("bulk calls: bodies that are no JSON, no array or too large are refused", async () => {
  for (const [method, path] of [
    ["PUT", "/bulk"],
    ["DELETE", "/bulk"],
    ["POST", "/bulk/delete"],
    ["POST", "/bulk/get"],
  ] as const) {
    for (const body of ["", "{", "7", Uint8Array.of(0x22, 0xff, 0x22)]) {
      const answer = await words.call(method, path, body);
      expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_029 }] });
    }
  }
  const huge = await words.call(
    "POST",
    "/bulk/get",
    Buffer.alloc(LIMITS.kvKeysBodyBytesMax + 1, " "),
  );
  expect(huge).toMatchObject({ status: 413, errors: [{ code: 10_024 }] });
});

test("bulk write: metadata that is nested deeply is refused", async () => {
  for (const levels of [600, 100_000]) {
    const metadata = "[".repeat(levels) + "]".repeat(levels);
    const answer = await words.call(
      "PUT",
      "/bulk",
      `[{"key":"k","value":"v","metadata":${metadata}}]`,
    );
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_029 }] });
  }
});

test("bulk read: a time to live in the cache that the binding would refuse is refused", async () => {
  for (const cacheTtl of [-1, 0, 29]) {
    expect(await get({ keys: ["key"], cacheTtl })).toMatchObject({
      status: 400,
      errors: [{ code: 10_029 }],
    });
  }
  expect((await get({ keys: ["key"], cacheTtl: 30 })).status).toBe(200);
});

test("bulk read: values are text or JSON, of at most 100 keys and 25 MiB", async () => {
  const value = "x".repeat(13 * 1024 * 1024);
  await put([
    { key: "json", value: '{"a":1}' },
    { key: "text", value: "no json" },
    { key: "__proto__", value: "1" },
  ]);
  await put([
    { key: "large", value },
    { key: "large too", value },
  ]);
  const json = await get({ keys: ["json", "none"], type: "json" });
  expect(json.result).toEqual({ values: { json: { a: 1 }, none: null } });
  const odd = await get({ keys: ["__proto__"] });
  expect(JSON.stringify(odd.result)).toBe('{"values":{"__proto__":"1"}}');
  expect((await get({ keys: ["text"], type: "json" })).errors[0]).toMatchObject({ code: 10_029 });
  expect((await get({ keys: ["json"], type: "xml" })).errors[0]).toMatchObject({ code: 10_029 });
  expect((await get({ keys: [] })).errors[0]).toMatchObject({ code: 10_029 });
  const many = Array.from({ length: 101 }, (_, index) => `k${index}`);
  expect((await get({ keys: many })).errors[0]).toMatchObject({ code: 10_029 });
  expect((await get({ keys: many.slice(1) })).status).toBe(200);
  expect((await get({ keys: ["k", ".."] })).errors[0]).toMatchObject({ code: 10_042 });
  expect((await get({ keys: ["large"] })).status).toBe(200);
  const tooMuch = await get({ keys: ["large", "large too"] });
  expect(tooMuch).toMatchObject({ status: 413, errors: [{ code: 10_024 }] });
});

test("bulk delete: by both of its addresses, all of the keys or none", async () => {
  await put(["a", "b", "c", "d"].map((key) => ({ key, value: "v" })));
  expect(await words.call("DELETE", "/bulk", '["a","none"]')).toMatchObject({
    status: 200,
    result: { successful_key_count: 2 },
  });
  expect(await words.call("POST", "/bulk/delete", '["b"]')).toMatchObject({ status: 200 });
  for (const [code, item] of [
    [10_042, ".."],
    [10_029, 7],
  ]) {
    const answer = await words.call("DELETE", "/bulk", JSON.stringify(["c", item]));
    expect(answer.errors[0]).toMatchObject({ code, message: expect.stringMatching(/^entry 1\b/) });
  }
  expect(await words.names()).toEqual(["c", "d"]);
});
