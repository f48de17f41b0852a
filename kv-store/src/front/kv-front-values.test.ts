import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { FrontBench, NAMESPACE, type HttpAnswer } from "../test-support/front-bench.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { CAPABILITY_HEADER } from "./kv-front.ts";

let bench: FrontBench;
beforeEach(async () => {
  bench = await FrontBench.open();
});
afterEach(() => bench.close());

test("KvFront: values spill to disk past the inline limit, and are stored by hash before the write", async () => {
  const small = Buffer.alloc(LIMITS.inlineValueBytesMax, "s");
  const large = Buffer.alloc(LIMITS.inlineValueBytesMax + 1, "l");
  await bench.putAt("/small", small);
  expect([...bench.stored.keys()]).toEqual([]);
  await bench.putAt("/large", large);
  const hash = createHash("sha256").update(large).digest("hex");
  expect([...bench.stored.keys()]).toEqual([hash]);
  expect(bench.replica.get(NAMESPACE, "large")?.value).toEqual({
    kind: "blob",
    hash,
    size: large.length,
  });
  for (const [key, value] of Object.entries({ small, large })) {
    expect((await bench.call({ path: `/${key}?urlencoded=true` })).body).toBe(value.toString());
  }
});

test.each([
  ["cut short", (content: Buffer) => content.subarray(1)],
  ["changed in one bit", (content: Buffer) => Buffer.from(content).fill("L", 9, 10)],
])(
  "KvFront: a large value whose file was %s is answered whole and right",
  async (_what, damage) => {
    const large = Buffer.alloc(LIMITS.inlineValueBytesMax + 1, "l");
    await bench.putAt("/large", large);
    const [hash = ""] = bench.stored.keys();
    const path = join(bench.directory, "values", hash);
    await writeFile(path, damage(await readFile(path)));
    const answer = await bench.call({ path: "/large?urlencoded=true" });
    expect(answer.status).toBe(200);
    expect(answer.body === large.toString()).toBe(true);
  },
);

test("KvFront: a large value whose file shrinks while it is read is cut off, and nobody waits", async () => {
  const large = Buffer.alloc(8 * 1024 * 1024, "l");
  await bench.putAt("/large", large);
  const [hash = ""] = bench.stored.keys();
  const outgoing = httpRequest({
    socketPath: bench.socketPath,
    path: "/large?urlencoded=true",
    headers: { [CAPABILITY_HEADER]: "good" },
  });
  outgoing.end();
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  await truncate(join(bench.directory, "values", hash), 4 * 1024 * 1024);
  await expect(response.resume().toArray()).rejects.toMatchObject({ code: "ECONNRESET" });
});

test("KvFront: a body over the limit is refused to the end of it, whatever it announced", async () => {
  const reason = `Value length of ${LIMITS.valueBytesMax + 1} exceeds limit of ${LIMITS.valueBytesMax}.`;
  const body = Buffer.alloc(LIMITS.valueBytesMax + 1);
  const announced = await bench.putAt("/k", body);
  expect(announced).toMatchObject({ status: 413, reason });
  const headers = { "transfer-encoding": "chunked" };
  const path = "/k?urlencoded=true";
  const unannounced = await bench.call({ method: "PUT", path, body, headers });
  expect([unannounced.status, unannounced.reason]).toEqual([
    413,
    expect.stringMatching(/^Value length of \d+ exceeds limit/),
  ]);
  expect(await readdir(join(bench.directory, "values", "incoming"))).toEqual([]);
  expect((await bench.call({ path })).status).toBe(404);
});

test("KvFront: a sender that goes away in the middle leaves nothing behind", async () => {
  const incoming = join(bench.directory, "values", "incoming");
  const socket = connect(bench.socketPath);
  socket.write(
    `PUT /k?urlencoded=true HTTP/1.1\r\n${CAPABILITY_HEADER}: good\r\ncontent-length: 1000000\r\n\r\n`,
  );
  socket.write(Buffer.alloc(500_000));
  await waitFor(async () => expect(await readdir(incoming)).toHaveLength(1));
  socket.destroy();
  await waitFor(async () => expect(await readdir(incoming)).toEqual([]));
  expect(bench.replica.get(NAMESPACE, "k")).toBeUndefined();
});

test("KvFront: a large value that can't be had is an answer of its own, not a missing key", async () => {
  const value = { kind: "blob", hash: "0".repeat(64), size: 100_000 } as const;
  const key = Key.parse("lost");
  await bench.client.write(NAMESPACE, [{ kind: "put", key, value }], []);
  expect(await bench.call({ path: "/lost?urlencoded=true" })).toMatchObject({ status: 503 });
});

test("KvFront: values that the replica does not hold are fetched, or a 503, and never a missing key", async () => {
  const texts = { a: "A".repeat(1_000), b: "B".repeat(2_000), small: "s" };
  for (const [key, text] of Object.entries(texts)) await bench.putAt(`/${key}`, text);
  await bench.replica.setPartial(NAMESPACE, true);
  await bench.replica.strip(NAMESPACE);
  const get = (key: string): Promise<HttpAnswer> => bench.call({ path: `/${key}?urlencoded=true` });
  const bulk = (): Promise<HttpAnswer> =>
    bench.call({
      method: "POST",
      path: "/bulk/get",
      body: JSON.stringify({ keys: ["a", "none", "b"] }),
    });
  expect([(await get("a")).status, (await bulk()).status]).toEqual([503, 503]);
  expect(await get("small")).toMatchObject({ status: 200, body: "s" });
  expect((await get("none")).status).toBe(404);
  const listed = JSON.parse((await bench.call({ path: "/" })).body) as { keys: unknown[] };
  expect(listed.keys).toHaveLength(3);
  for (const text of Object.values(texts)) {
    bench.stored.set(createHash("sha256").update(text).digest("hex"), Buffer.from(text));
  }
  expect(await get("a")).toMatchObject({ status: 200, body: texts.a });
  expect(JSON.parse((await bulk()).body)).toEqual({ a: texts.a, none: null, b: texts.b });
});

test("KvFront: what was put where values are absent is read there, also without the control plane", async () => {
  await bench.replica.setPartial(NAMESPACE, true);
  const text = "own".repeat(100);
  await bench.putAt("/own", text);
  expect(bench.replica.get(NAMESPACE, "own")?.value.kind).toBe("absent");
  // Nobody has it to be fetched.
  expect(await bench.call({ path: "/own?urlencoded=true" })).toMatchObject({
    status: 200,
    body: text,
  });
});

test("KvFront: a copy is as old as it is when the value has come, and not as when it was asked for", async () => {
  const texts = { a: "A".repeat(1_000), b: "B".repeat(1_000) };
  for (const [key, text] of Object.entries(texts)) {
    await bench.putAt(`/${key}`, text);
    bench.stored.set(createHash("sha256").update(text).digest("hex"), Buffer.from(text));
  }
  await bench.replica.setPartial(NAMESPACE, true);
  await bench.replica.strip(NAMESPACE);
  // The node is cut off while it waits for the value.
  bench.onFetch = async () => void (bench.lagMs = 1_500);
  const one = await bench.call({ path: "/a?urlencoded=true" });
  expect([one.body, one.headers["x-atoll-kv-lag-ms"]]).toEqual([texts.a, "1500"]);
  bench.lagMs = 12;
  const body = JSON.stringify({ keys: ["a", "b"] });
  const several = await bench.call({ method: "POST", path: "/bulk/get", body });
  expect(JSON.parse(several.body)).toEqual(texts);
  expect(several.headers["x-atoll-kv-lag-ms"]).toBe("1500");
});

test("KvFront: a bulk read is bounded, also by values that are written while it fetches others", async () => {
  const put = (key: string, hash: string, size: number): Promise<unknown> => {
    const value = { kind: "blob", hash, size } as const;
    return bench.client.write(NAMESPACE, [{ kind: "put", key: Key.parse(key), value }], []);
  };
  const content = Buffer.alloc(LIMITS.inlineValueBytesMax + 1);
  const small = createHash("sha256").update(content).digest("hex");
  bench.stored.set(small, content);
  for (const key of ["a", "b"]) await put(key, small, content.length);
  const fetched: string[] = [];
  bench.onFetch = async () => {
    fetched.push("once");
    for (const key of ["a", "b"]) await put(key, "5".repeat(64), LIMITS.bulkGetBytesMax);
  };
  const body = JSON.stringify({ keys: ["a", "b"] });
  expect(await bench.call({ method: "POST", path: "/bulk/get", body })).toMatchObject({
    status: 413,
    headers: { "x-atoll-kv-error": "bulk_too_large" },
  });
  // Nothing of what is too much is fetched.
  expect(fetched).toEqual(["once"]);
});
