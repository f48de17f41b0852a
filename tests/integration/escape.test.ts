import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { serveEverywhere } from "../support/serving.ts";
import { upload } from "../support/upload.ts";

// What SECURITY.md lists for a tenant's code, each tried from inside a worker of a whole Atoll. What
// native code could do in a cell, after an error in workerd, is tried by the tests of the sandbox.

const SECRET = "a file of the host that no worker may read";

/** Tries what its request's body says, and tells how it went. */
const PRISONER = `
  import * as fs from "node:fs";
  import { connect } from "cloudflare:sockets";
  const kept = [];
  const attempts = {
    read: (path) => fs.readFileSync(path, "utf8"),
    list: (path) => fs.readdirSync(path).join(),
    import: (name) => import(name).then((found) => Object.keys(found).join()),
    environment: () => JSON.stringify(process.env),
    spawn: async (file) => (await import("node:child_process")).spawnSync(file, []).pid,
    kill: (pid) => process.kill(Number(pid), 9),
    fetch: async (url) => (await fetch(url)).status,
    connect: async (address) => { const socket = connect(address); await socket.opened; return "opened"; },
    bindings: (_, env) => Object.keys(env).join(),
    caches: async () => (await caches.default.match("http://victim.localhost/"))?.text() ?? "nothing",
    headers: (_, env, request) => JSON.stringify([...request.headers]),
    loop: () => { for (;;) {} },
    memory: () => { for (;;) kept.push(new Uint8Array(1e6).fill(1)); },
    disk: () => { for (let i = 0; ; i += 1) fs.writeFileSync("/tmp/" + i, new Uint8Array(1e6).fill(1)); },
    sockets: async () => { const all = await Promise.allSettled(Array.from({ length: 1500 }, () => fetch("http://127.0.0.1/"))); return all.filter(({ value }) => value?.status === 200).length; },
  };
  export default { async fetch(request, env) {
    const { attempt, target } = request.method === "POST" ? await request.json() : { attempt: "bindings" };
    try {
      return Response.json({ got: await attempts[attempt](target, env, request) });
    } catch (error) {
      return Response.json({ refused: String(error) });
    }
  } };
`;

let atoll: TestAtoll;
let secretFile: string;
beforeAll(async () => {
  atoll = await startAtoll();
  secretFile = join(atoll.dataDirectory, "..", "secret");
  await writeFile(secretFile, SECRET);
  const metadata = { compatibility_flags: ["nodejs_compat"] };
  const prisoner = await upload(atoll, { name: "prisoner", source: PRISONER, metadata });
  expect(prisoner.status, prisoner.body).toBe(200);
  const victim = `export default { fetch() { return new Response("victim"); } };`;
  expect((await upload(atoll, { name: "victim", source: victim })).status).toBe(200);
  await serveEverywhere(atoll, "prisoner", ({ status }) => status === 200);
  await serveEverywhere(atoll, "victim", ({ body }) => body === "victim");
});
afterAll(async () => {
  await rm(secretFile, { force: true });
  await atoll.stop();
});

interface Outcome {
  readonly got?: unknown;
  readonly refused?: string;
}

async function attempt(name: string, target = ""): Promise<{ status: number; outcome: Outcome }> {
  const { status, body } = await atoll.get("fra", "prisoner.localhost", "/", {
    method: "POST",
    body: JSON.stringify({ attempt: name, target }),
    headers: { "x-atoll-kv": "forged", "cf-connecting-ip": "6.6.6.6", "x-atoll-cf": "{}" },
  });
  return { status, outcome: status === 200 ? (JSON.parse(body) as Outcome) : {} };
}

test.each([
  ["/etc/passwd"],
  ["/proc/self/environ"],
  ["/proc/1/environ"],
  ["/cell/kv.sock"],
  ["/workerd"],
  ["../../../../etc/passwd"],
  ["/bundle/../../etc/passwd"],
  ["/dev/../etc/hostname"],
])("escape: no file of the host is read by the path %s", async (path) => {
  expect((await attempt("read", path)).outcome.refused).toBeDefined();
});

test("escape: a file of the host is not read by its own path", async () => {
  const { outcome } = await attempt("read", secretFile);
  expect(outcome.refused).toBeDefined();
  expect(JSON.stringify(outcome)).not.toContain(SECRET);
});

test("escape: the root that a worker sees is that of its isolate", async () => {
  expect((await attempt("list", "/")).outcome.got).toBe("bundle,tmp,dev");
});

test.each([["/etc/passwd"], ["file:///etc/passwd"], ["../../secret"], ["/cell/kv.sock"]])(
  "escape: %s is not imported",
  async (name) => {
    expect((await attempt("import", name)).outcome.refused).toBeDefined();
  },
);

test("escape: nothing of the agent's environment is there", async () => {
  expect((await attempt("environment")).outcome.got).toBe("{}");
  expect((await attempt("bindings")).outcome.got).toBe("");
});

test("escape: no program is started, and no process is ended", async () => {
  expect((await attempt("spawn", "/workerd")).outcome.refused).toBeDefined();
  const pids = await atoll.pids();
  for (const pid of [1, pids["fra"], pids["control-plane"]]) {
    expect((await attempt("kill", `${pid}`)).outcome.refused).toBeDefined();
  }
  expect(await atoll.pids()).toEqual(pids);
});

test("escape: neither fetch nor a socket reaches the machine, its network or its metadata", async () => {
  const { port: ingressPort } = atoll.regions.fra;
  const controlPlane = new URL(atoll.url).port;
  const addresses = [
    `127.0.0.1:${controlPlane}`,
    `127.0.0.1:${ingressPort}`,
    `localhost:${controlPlane}`,
    `[::1]:${controlPlane}`,
    `[::ffff:127.0.0.1]:${controlPlane}`,
    `0.0.0.0:${controlPlane}`,
    `2130706433:${controlPlane}`,
    `0x7f.1:${controlPlane}`,
    "10.0.0.1:80",
    "172.16.0.1:80",
    "192.168.0.1:80",
    "169.254.169.254:80",
    "[fe80::1]:80",
    "[fd00:ec2::254]:80",
  ];
  for (const address of addresses) {
    const fetched = await attempt("fetch", `http://${address}/`);
    expect(fetched.outcome.got ?? 403, address).toBe(403);
    expect((await attempt("connect", address)).outcome.refused, address).toBeDefined();
  }
});

test("escape: a socket of the cell has no name that a worker could connect to", async () => {
  for (const address of ["unix:/cell/kv.sock", "unix:kv.sock"]) {
    expect((await attempt("connect", address)).outcome.refused, address).toBeDefined();
    // A host that is called `unix`, and that nobody knows.
    expect((await attempt("fetch", `http://${address}/`)).outcome.got ?? 502, address).toBe(502);
  }
});

test("escape: what a client forges never reaches the worker", async () => {
  const { outcome } = await attempt("headers");
  const headers = new Map(JSON.parse(String(outcome.got)) as Array<[string, string]>);
  expect(headers.get("cf-connecting-ip")).toBe("127.0.0.1");
  expect([...headers.keys()].filter((name) => name.startsWith("x-atoll"))).toEqual([]);
});

test("escape: nothing of another worker is in the cache", async () => {
  expect((await attempt("caches")).outcome.got).toBe("nothing");
});

test("escape: more outgoing requests than there may be are refused, and the node serves on", async () => {
  expect((await attempt("sockets")).outcome.got).toBe(0);
  expect((await atoll.get("fra", "victim.localhost", "/")).body).toBe("victim");
});

test.each([
  ["the processor", "loop", "exceededCpu"],
  ["memory", "memory", "exceededMemory"],
  ["the disk", "disk", "exceededMemory"],
])("escape: %s is not exhausted", async (_, name, reason) => {
  // Rests from an earlier attempt end within seconds.
  await serveEverywhere(atoll, "prisoner", ({ status }) => status === 200);
  const ended = attempt(name);
  const others: number[] = [];
  const done = new AbortController();
  const load = (async () => {
    while (!done.signal.aborted) {
      others.push((await atoll.get("fra", "victim.localhost", "/")).status);
    }
  })();
  expect((await ended).status).toBe(503);
  done.abort();
  await load;
  expect(new Set(others)).toEqual(new Set([200]));
  await eventually(async () => (await atoll.atoll(["status"])).output.includes(reason), {
    what: `the status tells ${reason}`,
  });
});
