import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { UsageError } from "../settings.ts";
import { type DevSession, type DevSessionOptions, startDevSession } from "./dev-session.ts";
import { KvApi } from "./test-support/kv-api.ts";

const CONFIG = {
  name: KvApi.worker,
  main: "src/index.js",
  compatibility_date: "2026-04-01",
  kv_namespaces: [{ binding: KvApi.binding }],
};
// Evaluates to what a request asks for: one worker for every test of the binding.
const KV_WORKER = `
  const calls = {
    get: (store, key, type) => store.get(key, type),
    getBytes: async (store, key) => [...new Uint8Array(await store.get(key, "arrayBuffer"))],
    getWithMetadata: (store, key) => store.getWithMetadata(key),
    getMany: async (store, keys, type) => Object.fromEntries(await store.get(keys, type)),
    getManyWithMetadata: async (store, keys) => Object.fromEntries(await store.getWithMetadata(keys)),
    put: (store, key, value, options) => store.put(key, value, options),
    putBytes: (store, key, bytes) => store.put(key, Uint8Array.from(bytes)),
    delete: (store, key) => store.delete(key),
    list: (store, options) => store.list(options),
  };
  export default {
    async fetch(request, env) {
      if (request.method === "GET") return new Response("version 1");
      const { call, parameters } = await request.json();
      try {
        return Response.json({ result: (await calls[call](env.STORE, ...parameters)) ?? null });
      } catch (error) {
        return Response.json({ error: error.message });
      }
    },
  };
`;

// Leaves the processor to what is waited for.
const POLL_MS = 20;
// For hangs, not for speed.
const DEADLINE_MS = 30_000;

let directory: string;
const cleanups: Array<() => Promise<void>> = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-dev-test-"));
  await write("wrangler.json", JSON.stringify(CONFIG));
  await write("src/index.js", KV_WORKER);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  await rm(directory, { recursive: true, force: true });
});

async function write(file: string, content: string): Promise<void> {
  await mkdir(dirname(join(directory, file)), { recursive: true });
  await writeFile(join(directory, file), content);
}

async function start(options: Partial<DevSessionOptions> = {}): Promise<DevSession> {
  const session = await startDevSession({ directory, port: 0, ...options });
  cleanups.push(() => session.dispose());
  return session;
}

async function startWithApi(): Promise<{ readonly session: DevSession; readonly api: KvApi }> {
  const api = new KvApi();
  const remoteKv = await api.listen();
  cleanups.push(() => api.close());
  return { api, session: await start({ remoteKv }) };
}

async function call(session: DevSession, name: string, ...parameters: unknown[]): Promise<unknown> {
  const response = await fetch(session.url, {
    method: "POST",
    body: JSON.stringify({ call: name, parameters }),
  });
  // Instead of an answer of the worker's, for a request that a save has cut off.
  if (response.status === 503) throw new TypeError("the session answered 503");
  return response.json();
}

/** A save cuts off requests that are under way: whoever waits for it asks again. */
async function eventually(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!(await condition().catch(ignoreCutOff))) {
    if (Date.now() > deadline) throw new Error(`it did not come true within ${DEADLINE_MS} ms`);
    await wait(POLL_MS);
  }
}

/** False, so far, for a request that began before a save had come into effect. */
function ignoreCutOff(error: unknown): false {
  if (error instanceof TypeError) return false;
  throw error;
}

async function textOf(session: DevSession): Promise<string> {
  return (await fetch(session.url)).text();
}

/** Whether a request gets no answer for longer than any answer takes. */
async function isHeld(session: DevSession): Promise<boolean> {
  try {
    await (await fetch(session.url, { signal: AbortSignal.timeout(1_000) })).text();
    return false;
  } catch (error) {
    return error instanceof DOMException && error.name === "TimeoutError";
  }
}

test("dev session: serves the project, with its KV kept from one session to the next", async () => {
  const first = await start();
  expect(await textOf(first)).toBe("version 1");
  await call(first, "put", "kept", "here");
  await first.dispose();
  const second = await start();
  expect(await call(second, "get", "kept")).toEqual({ result: "here" });
});

test("dev session: a save is served without a restart; one that does not build makes requests wait", async () => {
  const session = await start();
  expect(await textOf(session)).toBe("version 1");
  await write("src/index.js", KV_WORKER.replace("version 1", "version 2"));
  await eventually(async () => (await textOf(session)) === "version 2");
  await write("src/index.js", "export default {");
  await eventually(() => isHeld(session));
  await write("src/index.js", KV_WORKER.replace("version 1", "version 3"));
  await eventually(async () => (await textOf(session)) === "version 3");
});

test("dev session: a folder without a configuration is refused in one sentence", async () => {
  await rm(join(directory, "wrangler.json"));
  await expect(startDevSession({ directory, port: 0 })).rejects.toThrow(UsageError);
});

test.each([
  ["wrangler.json", '{ "name": "x",, }', /wrangler\.json:1:\d+: PropertyNameExpected/],
  ["wrangler.json", '{ "name": "x", "kv_namespaces": [{ "id": 3 }] }', /kv_namespaces\[0\]/],
  ["wrangler.json", '{ "name": "x", "main": "gone.js" }', /"gone\.js" was not found/],
  ["src/index.js", "export default {", /index\.js:1:\d+: ERROR/],
])("dev session: %s with %s is refused with what is wrong", async (file, content, message) => {
  await write(file, content);
  const starting = startDevSession({ directory, port: 0 });
  await expect(starting).rejects.toThrow(UsageError);
  await expect(starting).rejects.toThrow(message);
});

test("dev session: a port that is taken is refused", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  try {
    const starting = startDevSession({ directory, port });
    await expect(starting).rejects.toThrow(UsageError);
    await expect(starting).rejects.toThrow(`Address already in use (127.0.0.1:${port})`);
  } finally {
    taken.close();
  }
});

test("remote KV: the binding reads and writes the namespace of the deployed worker", async () => {
  const { session, api } = await startWithApi();
  await call(session, "put", "grüße/köln?", "hallo");
  expect(api.values.get("grüße/köln?")?.bytes.toString()).toBe("hallo");
  expect(await call(session, "get", "grüße/köln?")).toEqual({ result: "hallo" });
  await call(session, "putBytes", "bytes", [0, 255, 128]);
  expect(await call(session, "getBytes", "bytes")).toEqual({ result: [0, 255, 128] });
  await call(session, "delete", "bytes");
  expect(await call(session, "get", "bytes")).toEqual({ result: null });
});

test("remote KV: metadata and expiry travel both ways", async () => {
  const { session, api } = await startWithApi();
  const options = { metadata: { by: "Zoë" }, expirationTtl: 120 };
  await call(session, "put", "a", "1", options);
  expect(api.values.get("a")).toMatchObject({
    metadata: { by: "Zoë" },
    expiry: "expiration_ttl=120",
  });
  await call(session, "put", "ab", "2");
  expect(await call(session, "getWithMetadata", "a")).toMatchObject({
    result: { value: "1", metadata: { by: "Zoë" } },
  });
  expect(await call(session, "getManyWithMetadata", ["a", "ab", "none"])).toMatchObject({
    result: {
      a: { value: "1", metadata: { by: "Zoë" } },
      ab: { value: "2", metadata: null },
    },
  });
});

test("remote KV: several keys at once, as text and as JSON", async () => {
  const { session } = await startWithApi();
  await call(session, "put", "one", '{"n":1}');
  const keys = ["one", "none"];
  expect(await call(session, "getMany", keys)).toEqual({ result: { one: '{"n":1}', none: null } });
  expect(await call(session, "getMany", keys, "json")).toEqual({
    result: { one: { n: 1 }, none: null },
  });
});

test("remote KV: listings have prefixes and pages", async () => {
  const { session } = await startWithApi();
  for (const key of ["a:1", "a:2", "a:3", "b:1"]) await call(session, "put", key, key);
  expect(await call(session, "list", { prefix: "a:", limit: 2 })).toMatchObject({
    result: { keys: [{ name: "a:1" }, { name: "a:2" }], list_complete: false, cursor: "2" },
  });
  expect(await call(session, "list", { prefix: "a:", limit: 2, cursor: "2" })).toMatchObject({
    result: { keys: [{ name: "a:3" }], list_complete: true },
  });
});

test("remote KV: what the API refuses reaches the worker in the API's words", async () => {
  const { session } = await startWithApi();
  expect(await call(session, "put", "a", "1", { expirationTtl: 5 })).toEqual({
    error: "KV PUT failed: 400 Invalid expiration_ttl of 5. Expiration TTL must be at least 60.",
  });
});

test("remote KV: an Atoll that is gone is named in the worker's error", async () => {
  const { session, api } = await startWithApi();
  await api.close();
  cleanups.splice(0, 1);
  expect(await call(session, "get", "a")).toMatchObject({
    error: expect.stringMatching(/KV GET failed: 503 no answer from .* is Atoll running\?/),
  });
});

test("remote KV: a binding that names no namespace is refused, and nothing is left", async () => {
  await write("wrangler.json", JSON.stringify({ ...CONFIG, name: "never-deployed" }));
  // The machine's own folder for temporary files has those of other sessions as well.
  const temporary = join(directory, "temporary");
  await mkdir(temporary);
  vi.stubEnv("TMPDIR", temporary);
  await expect(startWithApi()).rejects.toThrow(
    "The KV binding STORE of never-deployed has no namespace yet",
  );
  const names = await readdir(temporary);
  expect(names.filter((name) => name.startsWith("atoll-dev-"))).toEqual([]);
});

test("remote KV: an Atoll that is gone before the start is named in one sentence", async () => {
  const api = new KvApi();
  const remoteKv = await api.listen();
  await api.close();
  const starting = start({ remoteKv });
  await expect(starting).rejects.toThrow(UsageError);
  await expect(starting).rejects.toThrow(/no answer from .* is Atoll running\?/);
});

test("remote KV: a configuration that can't be read is refused with what is wrong", async () => {
  await write("wrangler.json", '{ "name": "x",, }');
  const starting = startWithApi();
  await expect(starting).rejects.toThrow(UsageError);
  await expect(starting).rejects.toThrow(/wrangler\.json:1:\d+: PropertyNameExpected/);
});

test("remote KV: a binding that a save adds is remote, too", async () => {
  const { session, api } = await startWithApi();
  const added = { binding: "MORE", id: KvApi.namespace };
  const kv = [...CONFIG.kv_namespaces, added];
  const code = KV_WORKER.replace("env.STORE", "env.MORE").replace("version 1", "version 2");
  await write("src/index.js", code);
  await eventually(async () => (await textOf(session)) === "version 2");
  await write("wrangler.json", JSON.stringify({ ...CONFIG, kv_namespaces: kv }));
  await eventually(async () => {
    await call(session, "put", "through-more", "yes");
    return api.values.has("through-more");
  });
  expect(await call(session, "get", "through-more")).toEqual({ result: "yes" });
});

test("remote KV: a binding that has no namespace yet is remote from the first save on that finds one", async () => {
  const { session, api } = await startWithApi();
  const kv = [...CONFIG.kv_namespaces, { binding: "MORE" }];
  await write("src/index.js", KV_WORKER.replace("env.STORE", "env.MORE"));
  await write("wrangler.json", JSON.stringify({ ...CONFIG, kv_namespaces: kv }));
  await eventually(async () => api.asked === 2);
  // The developer deploys the project, which makes the namespace, and goes on.
  api.bindings.push("MORE");
  await write("src/index.js", `${KV_WORKER.replace("env.STORE", "env.MORE")}// saved again`);
  await eventually(async () => {
    await call(session, "put", "through-more", "yes");
    return api.values.has("through-more");
  });
});
