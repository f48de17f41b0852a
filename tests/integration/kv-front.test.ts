import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CAPABILITY_HEADER,
  KvFront,
  LmdbReplica,
  NamespaceId,
  OriginServer,
  ReplicaClient,
  SqliteOrigin,
  systemClock,
  ValueCache,
  type Log,
  type ValueFile,
} from "@atoll/kv-store";
import { Client } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";
import { channelPair } from "../support/channel-pair.ts";

// The binary that nodes run is the edge runtime's dependency.
const require = createRequire(import.meta.resolve("@atoll/edge-runtime"));
const workerdPath = (require("workerd") as { readonly default: string }).default;

const NAMESPACE = NamespaceId.parse("c".repeat(32));
const CAPABILITY = "what-this-cell-was-given";
const clock = systemClock;
const log: Log = { info: () => {}, warn: () => {}, error: (fields) => console.error(fields) };

// Runs the text of a request as the body of a function over the binding.
const WORKER = `
export default {
  async fetch(request, env) {
    const call = env.EVAL.newAsyncFunction(await request.text(), "call", "KV", "OTHER");
    try {
      return Response.json({ result: (await call(env.KV, env.OTHER)) ?? null });
    } catch (error) {
      return Response.json({ error: error.message });
    }
  },
};`;

const CONFIG = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "kv", external = (address = "unix:kv.sock",
      http = (injectRequestHeaders = [(name = "${CAPABILITY_HEADER}", value = "${CAPABILITY}")]))),
    (name = "other", external = (address = "unix:kv.sock",
      http = (injectRequestHeaders = [(name = "${CAPABILITY_HEADER}", value = "made-up")]))),
  ],
  sockets = [(name = "http", address = "unix:cell.sock", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  bindings = [
    (name = "KV", kvNamespace = "kv"),
    (name = "OTHER", kvNamespace = "other"),
    (name = "EVAL", unsafeEval = void),
  ],
);`;

let directory: string;
let client: Client;
let replica: LmdbReplica;
const stored = new Map<string, Buffer>();
const closers: Array<() => Promise<unknown> | void> = [];

const blobs = {
  has: async (hash: string) => stored.has(hash),
  remove: async (hash: string) => void stored.delete(hash),
  store: async (hash: string, file: ValueFile) => void stored.set(hash, await readFile(file.path)),
  fetch: async ({ hash }: { readonly hash: string }) => {
    const content = stored.get(hash);
    return content === undefined
      ? undefined
      : (async function* () {
          yield content;
        })();
  },
};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-kv-front-"));
  await startNode();
  await startCell();
});

afterAll(async () => {
  for (const close of closers.toReversed()) await close();
  await rm(directory, { recursive: true });
});

async function startNode(): Promise<void> {
  const origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log });
  await origin.createNamespace(NAMESPACE);
  const server = new OriginServer({ origin, blobs, clock, log });
  replica = await LmdbReplica.open({ directory: join(directory, "replica"), clock, log });
  const client = new ReplicaClient({ replica, clock, log });
  const channels = channelPair();
  server.accept(channels.origin);
  client.setInterest([NAMESPACE]);
  client.attach(channels.node);
  const values = await ValueCache.open({ directory: join(directory, "values"), blobs, clock, log });
  const front = new KvFront({
    socketPath: join(directory, "kv.sock"),
    resolveCapability: (capability) => (capability === CAPABILITY ? NAMESPACE : undefined),
    replica,
    client,
    values,
    clock,
    log,
  });
  await front.listen();
  closers.push(
    () => origin.close(),
    () => server.close(),
    () => replica.close(),
    () => client.close(),
    () => values.close(),
    () => front.close(),
  );
}

async function startCell(): Promise<void> {
  await writeFile(join(directory, "worker.js"), WORKER);
  await writeFile(join(directory, "cell.capnp"), CONFIG);
  const cell: ChildProcess = spawn(
    workerdPath,
    ["serve", "cell.capnp", "--experimental", "--control-fd=3"],
    { cwd: directory, stdio: ["ignore", "inherit", "inherit", "pipe"] },
  );
  const exited = once(cell, "exit");
  closers.push(async () => {
    cell.kill("SIGKILL");
    await exited;
  });
  const control = cell.stdio[3];
  if (control === null || control === undefined) throw new Error("no control descriptor");
  await once(control, "data");
  client = new Client("http://cell", { socketPath: join(directory, "cell.sock") });
  closers.push(() => client.destroy());
}

interface Outcome {
  readonly result?: unknown;
  readonly error?: string;
}

async function inWorker(script: string): Promise<Outcome> {
  const response = await client.request({ method: "POST", path: "/", body: script });
  return (await response.body.json()) as Outcome; // what the worker above sends
}

async function resultOf(script: string): Promise<unknown> {
  const { error, result } = await inWorker(script);
  expect(error).toBeUndefined();
  return result;
}

async function errorOf(script: string): Promise<string | undefined> {
  return (await inWorker(script)).error;
}

test("KV binding: get returns what put stored, in every type", async () => {
  expect(await resultOf(`return await KV.get("missing")`)).toBeNull();
  expect(
    await resultOf(`
      await KV.put("text", '{"n":1}');
      return [
        await KV.get("text"),
        await KV.get("text", "json"),
        (await KV.get("text", "arrayBuffer")).byteLength,
        await new Response(await KV.get("text", "stream")).text(),
      ];`),
  ).toEqual(['{"n":1}', { n: 1 }, 7, '{"n":1}']);
  expect(
    await resultOf(`await KV.put("empty", ""); return await KV.getWithMetadata("empty")`),
  ).toEqual({ value: "", metadata: null, cacheStatus: null });
});

test("KV binding: put is visible to the next get, and so is delete", async () => {
  expect(
    await resultOf(`
      const seen = [];
      for (let i = 0; i < 50; i++) {
        await KV.put("counter", String(i));
        seen.push(await KV.get("counter"));
      }
      await KV.delete("counter");
      return [seen, await KV.get("counter")];`),
  ).toEqual([Array.from({ length: 50 }, (_, index) => String(index)), null]);
});

test("KV binding: keys and metadata of any text survive the way there and back", async () => {
  const names = ["m/ü ?&+#%25.", "…", "a\\nb", "__proto__", "🏝", "bulk/get", "m/2"];
  expect(
    await resultOf(`
      const names = ${JSON.stringify(names)};
      for (const name of names) await KV.put(name, "at " + name, { metadata: { name, é: "☃" } });
      const found = [];
      for (const name of names) found.push(await KV.getWithMetadata(name));
      const listed = (await KV.list({ prefix: "m/" })).keys;
      for (const name of names) await KV.delete(name);
      return [found.map(({ value, metadata }) => [value, metadata]), listed];`),
  ).toEqual([
    names.map((name) => [`at ${name}`, { name, é: "☃" }]),
    ["m/2", "m/ü ?&+#%25."].map((name) => ({ name, metadata: { name, é: "☃" } })),
  ]);
});

test("KV binding: metadata has any character that JSON can have", async () => {
  expect(
    await resultOf(`
      const metadata = { text: "\\x00\\n\\x1f \\x7f\\x80 é 🏝 \\ud800 \\u2028" };
      await KV.put("characters", "x", { metadata });
      const read = (await KV.getWithMetadata("characters")).metadata;
      const listed = (await KV.list({ prefix: "characters" })).keys[0].metadata;
      return [read.text === metadata.text, listed.text === metadata.text];`),
  ).toEqual([true, true]);
});

test("KV binding: list goes through all keys by prefix, page by page", async () => {
  expect(
    await resultOf(`
      for (let i = 0; i < 25; i++) await KV.put("page/" + String(i).padStart(2, "0"), "x");
      await KV.put("pagf", "x");
      const pages = [];
      let cursor;
      for (;;) {
        const page = await KV.list({ prefix: "page/", limit: 10, cursor });
        pages.push(page.keys.map(({ name }) => name.slice(5)).join(" "));
        if (page.list_complete) return pages;
        cursor = page.cursor;
      }`),
  ).toEqual(["00 01 02 03 04 05 06 07 08 09", "10 11 12 13 14 15 16 17 18 19", "20 21 22 23 24"]);
});

test("KV binding: an expiration shows in listings", async () => {
  const [inTime, keys] = (await resultOf(`
    const now = Math.floor(Date.now() / 1000);
    await KV.put("ttl/a", "x", { expirationTtl: 60 });
    await KV.put("ttl/b", "x", { expiration: 2000000000 });
    const { keys } = await KV.list({ prefix: "ttl/" });
    return [Math.abs(keys[0].expiration - now - 60) <= 2, keys];`)) as [boolean, unknown[]];
  expect(inTime).toBe(true);
  expect(keys[1]).toEqual({ name: "ttl/b", expiration: 2_000_000_000 });
});

test("KV binding: several keys are read at once, with and without metadata, as text and JSON", async () => {
  expect(
    await resultOf(`
      await KV.put("bulk/a", "1", { metadata: { m: 1 } });
      await KV.put("bulk/b", "[2]");
      const keys = ["bulk/b", "nothing", "bulk/a"];
      return [
        [...await KV.get(keys)],
        [...await KV.get(keys, "json")],
        [...await KV.getWithMetadata(keys)],
      ];`),
  ).toEqual([
    [
      ["bulk/b", "[2]"],
      ["nothing", null],
      ["bulk/a", "1"],
    ],
    [
      ["bulk/b", [2]],
      ["nothing", null],
      ["bulk/a", 1],
    ],
    [
      ["bulk/b", { value: "[2]", metadata: null }],
      ["nothing", null],
      ["bulk/a", { value: "1", metadata: { m: 1 } }],
    ],
  ]);
});

test("KV binding: large values travel by hash, up to the limit and as streams", async () => {
  const before = stored.size;
  expect(
    await resultOf(`
      await KV.put("large", new Uint8Array(25 * 1024 * 1024).fill(7));
      const { readable, writable } = new FixedLengthStream(100_000);
      const writer = writable.getWriter();
      const written = writer.write(new Uint8Array(100_000).fill(65)).then(() => writer.close());
      await KV.put("large/stream", readable);
      await written;
      const unsized = new ReadableStream({
        start(controller) {
          for (let i = 0; i < 10; i++) controller.enqueue(new Uint8Array(10_000).fill(66));
          controller.close();
        },
      });
      await KV.put("large/unsized", unsized);
      const large = new Uint8Array(await KV.get("large", "arrayBuffer"));
      return [
        large.length, large.every((byte) => byte === 7),
        await KV.get("large/stream") === "A".repeat(100_000),
        await KV.get("large/unsized") === "B".repeat(100_000),
      ];`),
  ).toEqual([25 * 1024 * 1024, true, true, true]);
  expect(stored.size).toBe(before + 3);
});

test.each([
  [
    `KV.put("k".repeat(513), "x")`,
    "KV PUT failed: 414 UTF-8 encoded length of 513 exceeds key length limit of 512.",
  ],
  [`KV.put("", "x")`, "Key name cannot be empty."],
  [`KV.put(".", "x")`, '"." is not allowed as a key name.'],
  [`KV.put("..", "x")`, '".." is not allowed as a key name.'],
  [
    `KV.put("x", "x", { expirationTtl: 59 })`,
    "KV PUT failed: 400 Invalid expiration_ttl of 59. Expiration TTL must be at least 60.",
  ],
  [
    `KV.put("x", "x", { expirationTtl: 0 })`,
    "KV PUT failed: 400 Invalid expiration_ttl of 0. Please specify integer greater than 0.",
  ],
  [
    `KV.put("x", "x", { expiration: 5 })`,
    "KV PUT failed: 400 Invalid expiration of 5. Please specify integer greater than the current number of seconds since the UNIX epoch.",
  ],
  [
    `KV.put("x", "x", { metadata: "m".repeat(1023) })`,
    "KV PUT failed: 413 Metadata length of 1025 exceeds limit of 1024.",
  ],
  [
    `KV.put("x", new Uint8Array(25 * 1024 * 1024 + 1))`,
    "KV PUT failed: 413 Value length of 26214401 exceeds limit of 26214400.",
  ],
  [
    `KV.get("x", { cacheTtl: 29 })`,
    "KV GET failed: 400 Invalid cache_ttl of 29. Cache TTL must be at least 30.",
  ],
  [`KV.list({ cursor: "zzz" })`, 'KV GET failed: 400 Invalid cursor "zzz".'],
  [
    `KV.list({ limit: 1001 })`,
    "KV GET failed: 400 Invalid key_count_limit of 1001. Please specify an integer less than 1000.",
  ],
  [
    `KV.list({ prefix: "p".repeat(513) })`,
    "KV GET failed: 414 UTF-8 encoded length of 513 exceeds key length limit of 512.",
  ],
  [
    `KV.get(Array.from({ length: 101 }, (_, index) => "k" + index))`,
    "KV GET_BULK failed: 400 You can request a maximum of 100 keys",
  ],
])("KV binding: %s is refused in Workers KV's words", async (call, message) => {
  expect(await errorOf(`return await ${call}`)).toBe(message);
});

test("KV binding: a bulk read over its size, or of what is not JSON, is refused", async () => {
  expect(
    await errorOf(`
      await KV.put("half/1", new Uint8Array(13 * 1024 * 1024));
      await KV.put("half/2", new Uint8Array(13 * 1024 * 1024));
      return await KV.get(["half/1", "half/2"])`),
  ).toBe("KV GET_BULK failed: 413 Total size of request exceeds the limit of 25MB");
  expect(
    await errorOf(`await KV.put("no-json", "{"); return await KV.get(["no-json"], "json")`),
  ).toBe(
    "KV GET_BULK failed: 400 At least one of the requested keys corresponds to a non-json value",
  );
});

test("KV binding: a caller without a capability reaches nothing", async () => {
  const refusal = "403 This caller was given no namespace";
  expect(await errorOf(`return await OTHER.get("text")`)).toBe(`KV GET failed: ${refusal}`);
  expect(await errorOf(`return await OTHER.list()`)).toBe(`KV GET failed: ${refusal}`);
  expect(await errorOf(`return await OTHER.put("text", new Uint8Array(20_000_000))`)).toBe(
    `KV PUT failed: ${refusal}`,
  );
});
