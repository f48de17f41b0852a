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
  type ValueBlobs,
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

const blobs: ValueBlobs & { has(hash: string): Promise<boolean> } = {
  has: async (hash) => stored.has(hash),
  store: async (hash, file) => void stored.set(hash, await readFile(file.path)),
  fetch: async (hash) => {
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
  const writer = new ReplicaClient({ replica, clock, log });
  const channels = channelPair();
  server.accept(channels.origin);
  writer.setInterest([NAMESPACE]);
  writer.attach(channels.node);
  const values = await ValueCache.open({ directory: join(directory, "values"), blobs, log });
  const front = new KvFront({
    socketPath: join(directory, "kv.sock"),
    resolveCapability: (capability) => (capability === CAPABILITY ? NAMESPACE : undefined),
    replica,
    writer,
    values,
    clock,
    log,
  });
  await front.listen();
  closers.push(
    () => origin.close(),
    () => server.close(),
    () => replica.close(),
    () => writer.close(),
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

test("KV binding: explore", async () => {
  const scripts = [
    `await KV.put("a", "text"); return [await KV.get("a"), await KV.get("a", "arrayBuffer").then((b) => b.byteLength), await KV.get("missing")]`,
    `await KV.put("m/ü ?&+#%.", "x", { metadata: { name: "Jürgen ☃", n: 1 } }); return await KV.getWithMetadata("m/ü ?&+#%.")`,
    `return await KV.list()`,
    `return await KV.list({ prefix: "m/ü ?&+", limit: 1 })`,
    `await KV.put("b", "{}"); return await KV.list({ limit: 1 })`,
    `const first = await KV.list({ limit: 1 }); return await KV.list({ limit: 1, cursor: first.cursor })`,
    `return await KV.list({ cursor: "zzz" })`,
    `return Object.fromEntries(await KV.get(["a", "missing", "m/ü ?&+#%."]))`,
    `return Object.fromEntries(await KV.getWithMetadata(["a", "missing", "m/ü ?&+#%."]))`,
    `return Object.fromEntries(await KV.get(["a", "b"], "json"))`,
    `return Object.fromEntries(await KV.get(["b"], { type: "json" }))`,
    `return await KV.put("short", "x", { expirationTtl: 59 })`,
    `return await KV.put("short", "x", { expiration: 5 })`,
    `return await KV.put("k".repeat(513), "x")`,
    `return await KV.put("", "x")`,
    `return await KV.put("..", "x")`,
    `return await KV.put("meta", "x", { metadata: "x".repeat(1023) })`,
    `return await KV.put("big", new Uint8Array(25 * 1024 * 1024 + 1))`,
    `await KV.put("big", new Uint8Array(25 * 1024 * 1024).fill(7)); return (await KV.get("big", "arrayBuffer")).byteLength`,
    `const { readable, writable } = new FixedLengthStream(100000); const w = writable.getWriter(); w.write(new Uint8Array(100000).fill(65)); w.close(); await KV.put("stream", readable); return (await KV.get("stream")).length`,
    `const s = new ReadableStream({ start(c) { c.enqueue(new Uint8Array(10)); c.close(); } }); return await KV.put("s2", s)`,
    `const text = await KV.get("stream", "stream"); let n = 0; for await (const c of text) n += c.length; return n`,
    `await KV.delete("a"); return await KV.get("a")`,
    `return await OTHER.get("a")`,
    `return await OTHER.list()`,
    `return await OTHER.put("a", new Uint8Array(20_000_000))`,
    `return await KV.get("a", { cacheTtl: 10 })`,
    `return await KV.get("a", { cacheTtl: 60 })`,
    `return await KV.list({ limit: 1001 })`,
    `return await KV.list({ limit: 0 })`,
    `return await KV.get(Array.from({ length: 101 }, (_, i) => "k" + i))`,
    `await KV.put("ttl", "x", { expirationTtl: 60, metadata: null }); return await KV.getWithMetadata("ttl")`,
    `await KV.put("empty", ""); return await KV.getWithMetadata("empty")`,
    `return await KV.list({ prefix: "ttl" })`,
    `return await KV.list({ prefix: "p".repeat(600) })`,
    `await KV.put("big2", new Uint8Array(13 * 1024 * 1024)); await KV.put("big3", new Uint8Array(13 * 1024 * 1024)); return await KV.get(["big2", "big3"])`,
  ];
  for (const script of scripts) {
    const out = JSON.stringify(await inWorker(script));
    console.log(script.slice(0, 140), "\n   ->", out.slice(0, 400));
  }
});
