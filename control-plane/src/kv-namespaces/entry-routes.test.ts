import { rm } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS as KV_LIMITS } from "@atoll/kv-store";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { NamespaceApi } from "../test-support/namespace-api.ts";

let api: ControlPlaneApi;
let words: NamespaceApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  words = await NamespaceApi.create(api);
});
afterEach(() => api.close());

const pathOf = (key: string): string => `/values/${encodeURIComponent(key)}`;
const get = (key: string): Promise<Response> => words.fetch(pathOf(key));

async function bytesOf(response: Response): Promise<Buffer> {
  expect(response.status).toBe(200);
  return Buffer.from(await response.arrayBuffer());
}

function form(parts: Readonly<Record<string, string | Blob>>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(parts)) data.append(name, value);
  return data;
}

test("keys: any text within the rules is a key, however it must be encoded", async () => {
  const keys = [
    "a",
    "a/b/c",
    "100%",
    "%2F",
    "?#&=+ ",
    "ünïcödé 🏝",
    ".hidden",
    "...",
    "é".repeat(256),
  ];
  for (const key of [...keys, "a\nb", "__proto__"]) {
    expect(await words.put(key, `value of ${key}`)).toMatchObject({ status: 200 });
    expect((await bytesOf(await get(key))).toString()).toBe(`value of ${key}`);
    expect(await words.names()).toContain(key);
    expect(await words.call("DELETE", pathOf(key))).toMatchObject({ status: 200 });
    expect((await get(key)).status).toBe(404);
  }
});

test("keys: slashes may be written as they are", async () => {
  await words.call("PUT", "/values/a/b", "1");
  expect(await words.names()).toEqual(["a/b"]);
});

test("keys: too long ones, and what is no encoded text, are refused", async () => {
  expect(await words.put("k".repeat(512), "v")).toMatchObject({ status: 200 });
  expect(await words.put("k".repeat(513), "v")).toMatchObject({
    status: 414,
    errors: [{ code: 10_030, message: expect.stringMatching(/513.*512/) }],
  });
  for (const path of ["/values/%ff", "/values/%", "/values/%ED%A0%80"]) {
    expect(await words.call("PUT", path, "v")).toMatchObject({
      status: 400,
      errors: [{ code: 10_042 }],
    });
  }
  expect(await words.names()).toEqual(["k".repeat(512)]);
});

test("values: bytes come back as they were, inline and as blobs, at every limit", async () => {
  const sizes = [0, 1, KV_LIMITS.inlineValueBytesMax, KV_LIMITS.inlineValueBytesMax + 1];
  for (const size of [...sizes, KV_LIMITS.valueBytesMax]) {
    const value = Buffer.alloc(size, Buffer.from([0, 255, 13, 10, 45]));
    expect(await words.put("key", value)).toMatchObject({ status: 200 });
    expect((await bytesOf(await get("key"))).equals(value)).toBe(true);
    const entry = await api.origin.get(words.id, "key");
    expect(entry?.value.kind).toBe(size > KV_LIMITS.inlineValueBytesMax ? "blob" : "inline");
  }
});

test("values: one byte more than 25 MiB is refused, whether or not the length is announced", async () => {
  const value = Buffer.alloc(KV_LIMITS.valueBytesMax + 1);
  const refusal = {
    status: 413,
    errors: [{ code: 10_024, message: expect.stringMatching(/26214401.*26214400/) }],
  };
  expect(await words.put("key", value)).toMatchObject(refusal);
  expect(await words.put("key", form({ value: new Blob([value]) }))).toMatchObject(refusal);
  const init = { method: "PUT", body: new Blob([value]).stream(), duplex: "half" };
  const streamed = await words.fetch(`/values/key`, init as RequestInit);
  expect({ status: streamed.status, ...((await streamed.json()) as object) }).toMatchObject(
    refusal,
  );
  expect(await words.names()).toEqual([]);
});

test("values: a form carries metadata beside the value, as text or file", async () => {
  const bytes = Buffer.from([0, 255, 254, 13, 10]);
  const metadata = '{"a":[1,"ü"]}';
  await words.put("text", form({ value: "line\r\n\r\nline ü", metadata }));
  await words.put("file", form({ value: new Blob([bytes]), metadata }));
  await words.put("bare", form({ value: "v" }));
  expect((await bytesOf(await get("text"))).toString()).toBe("line\r\n\r\nline ü");
  expect(await bytesOf(await get("file"))).toEqual(bytes);
  expect((await words.call("GET", "/metadata/file")).result).toEqual({ a: [1, "ü"] });
  expect((await words.call("GET", "/metadata/bare")).result).toBeNull();
  expect((await words.call("GET", "/metadata/none")).errors[0]).toMatchObject({ code: 10_009 });
  expect((await words.call("GET", "/keys")).result).toEqual([
    { name: "bare" },
    { name: "file", metadata: { a: [1, "ü"] } },
    { name: "text", metadata: { a: [1, "ü"] } },
  ]);
});

test("values: a form that is broken, lacks the value or has other parts is refused", async () => {
  const broken = { "content-type": "multipart/form-data; boundary=x" };
  const cut = await words.fetch(`/values/key`, {
    method: "PUT",
    headers: broken,
    body: '--x\r\ncontent-disposition: form-data; name="value"\r\n\r\nv',
  });
  expect(cut.status).toBe(400);
  const notText = await words.fetch(`/values/key`, {
    method: "PUT",
    headers: broken,
    body: Buffer.concat([
      Buffer.from('--x\r\ncontent-disposition: form-data; name="value"\r\n\r\n'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from("\r\n--x--\r\n"),
    ]),
  });
  expect(await notText.json()).toMatchObject({ errors: [{ code: 10_012 }] });
  for (const parts of [{ metadata: "{}" }, { value: "v", ttl: "60" }]) {
    const answer = await words.put("key", form(parts));
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_012 }] });
  }
  expect(await words.names()).toEqual([]);
});

test("metadata: 1,024 bytes of JSON are accepted, one more or no JSON is refused", async () => {
  const longest = JSON.stringify("m".repeat(1_022));
  expect(await words.put("key", form({ value: "v", metadata: longest }))).toMatchObject({
    status: 200,
  });
  for (const metadata of [JSON.stringify("m".repeat(1_023)), "{", ""]) {
    const answer = await words.put("key", form({ value: "other", metadata }));
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_047 }] });
  }
  expect((await bytesOf(await get("key"))).toString()).toBe("v");
});

test("expiration: a key disappears at its second, and not before", async () => {
  const nowSeconds = api.clock.nowMs() / 1_000;
  await words.put("ttl", "v", "?expiration_ttl=60");
  await words.put("moment", "v", `?expiration=${nowSeconds + 100}`);
  await words.put("both", "v", `?expiration=${nowSeconds + 100}&expiration_ttl=60`);
  expect((await get("ttl")).headers.get("expiration")).toBe(String(nowSeconds + 60));
  expect((await words.call("GET", "/keys")).result).toEqual([
    { name: "both", expiration: nowSeconds + 60 },
    { name: "moment", expiration: nowSeconds + 100 },
    { name: "ttl", expiration: nowSeconds + 60 },
  ]);
  api.clock.advanceMs(59_000);
  expect((await get("ttl")).status).toBe(200);
  api.clock.advanceMs(1_000);
  expect((await get("ttl")).status).toBe(404);
  expect(await words.names()).toEqual(["moment"]);
});

test("expiration: one under 60 seconds away, or no number, is refused by its own code", async () => {
  const nowSeconds = api.clock.nowMs() / 1_000;
  for (const ttl of ["59", "0", "-1", "x", "60.5", "", "9".repeat(15)]) {
    const answer = await words.put("key", "v", `?expiration_ttl=${ttl}`);
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_034 }] });
    expect(answer.errors[0]?.message).toContain(ttl);
  }
  for (const moment of [nowSeconds + 59, nowSeconds, 5, "x", 9e14]) {
    const answer = await words.put("key", "v", `?expiration=${moment}`);
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 10_033 }] });
  }
  const unknown = await words.put("key", "v", "?ttl=60");
  expect(unknown).toMatchObject({ status: 400, errors: [{ code: 10_001 }] });
  expect(await words.names()).toEqual([]);
});

test("listing: pages of a prefix follow each other by cursor until it is empty", async () => {
  const keys = Array.from({ length: 25 }, (_, index) => `a${String(index).padStart(2, "0")}`);
  const entries = [...keys, "b"].map((key) => ({ key, value: "v" }));
  await words.call("PUT", "/bulk", JSON.stringify(entries));
  const listed: string[] = [];
  let cursor = "";
  do {
    const page = await words.call("GET", `/keys?prefix=a&limit=10&cursor=${cursor}`);
    const rows = page.result as ReadonlyArray<{ readonly name: string }>;
    const info = page.result_info as { readonly count: number; readonly cursor: string };
    expect(info.count).toBe(rows.length);
    listed.push(...rows.map(({ name }) => name));
    cursor = info.cursor;
  } while (cursor !== "");
  expect(listed).toEqual(keys);
  expect((await words.call("GET", "/keys")).result_info).toEqual({ count: 26, cursor: "" });
});

test("listing: limits, cursors and prefixes outside the rules are refused", async () => {
  for (const limit of ["9", "1001", "x", "-10", "1e2", ""]) {
    expect((await words.call("GET", `/keys?limit=${limit}`)).errors[0]).toMatchObject({
      code: 10_028,
    });
  }
  for (const cursor of ["x", "k1.", "k1.!!", "k".repeat(10_000)]) {
    expect((await words.call("GET", `/keys?cursor=${cursor}`)).errors[0]).toMatchObject({
      code: 10_041,
    });
  }
  const long = await words.call("GET", `/keys?prefix=${"p".repeat(513)}`);
  expect(long.errors[0]).toMatchObject({ code: 10_030 });
  const unknown = await words.call("GET", "/keys?reverse=true");
  expect(unknown.errors[0]).toMatchObject({ code: 10_001 });
});

test("values: one whose content the blob store lost is a failure that says which, not an absence", async () => {
  await words.put("key", Buffer.alloc(KV_LIMITS.inlineValueBytesMax + 1));
  const entry = await api.origin.get(words.id, "key");
  const hash = entry?.value.kind === "blob" ? entry.value.hash : "an inline value";
  await rm(join(api.directory, "kv-values"), { recursive: true });
  expect(await words.call("GET", "/values/key")).toMatchObject({
    status: 503,
    errors: [{ code: 10_001, message: expect.stringContaining(hash) }],
  });
});

test("store: while the origin is closed, calls fail as ones to repeat", async () => {
  await api.origin.close();
  for (const [method, path] of [
    ["GET", "/values/key"],
    ["PUT", "/values/key"],
    ["GET", "/keys"],
  ] as const) {
    expect(await words.call(method, path)).toMatchObject({
      status: 503,
      errors: [{ code: 10_001 }],
    });
  }
});
