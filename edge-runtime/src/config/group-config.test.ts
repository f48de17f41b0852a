import { BlobHash, WorkerName, type Binding } from "@atoll/control-plane/contract";
import { NamespaceId } from "@atoll/kv-store";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SampleCells } from "../cells/sample-cell.ts";
import { configureGroup } from "./group-config.ts";
import { sampleModule, sampleWorker, type Sample } from "./sample-version.ts";

const SHOW_ENV = "export default { fetch(_, env) { return Response.json(env); } };";
const NAMESPACE = NamespaceId.parse("c".repeat(32));
const MANIFEST = BlobHash.parse("a".repeat(64));

let cells: SampleCells;
beforeAll(async () => {
  cells = await SampleCells.open();
});
afterAll(() => cells.close());

async function envOf(sample: Sample): Promise<Record<string, unknown>> {
  const ask = await cells.start([sampleModule(SHOW_ENV, sample)]);
  return JSON.parse((await ask(0)).body) as Record<string, unknown>;
}

/** What a config's syntax could trip over, and any other text. */
const nasty = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    `"`,
    `\\`,
    `\\"), (name = "x", text = "y`,
    `embed "/etc/passwd"`,
    "#comment\n",
    "\0",
    "\r\n",
    "\u2028\u2029\uFEFF",
    "💥é",
    "\\x22",
    "${x}",
    '0x"00"',
  ),
);

test("config: any text survives as a name, a text, a JSON value and a secret", async () => {
  // `__proto__` as a name would set the prototype of `env`, in workerd as in any JavaScript.
  const names = fc
    .uniqueArray(nasty, { minLength: 4, maxLength: 16 })
    .map((list) => list.filter((name) => name !== "" && name !== "__proto__"));
  const property = fc.asyncProperty(
    names,
    fc.array(nasty, { minLength: 16 }),
    async (all, values) => {
      const bindings: Binding[] = [];
      const secrets: Record<string, string> = {};
      const expected: Record<string, unknown> = {};
      all.forEach((name, index) => {
        const text = values[index] ?? "";
        // The same of a JSON value's own keys.
        const json = text === "__proto__" ? [text] : { [text]: [text] };
        if (index % 3 === 0) bindings.push({ type: "plain_text", name, text });
        if (index % 3 === 1) bindings.push({ type: "json", name, json });
        if (index % 3 === 2) {
          bindings.push({ type: "secret_text", name });
          secrets[name] = text;
        }
        expected[name] = index % 3 === 1 ? json : text;
      });
      expect(await envOf({ bindings, secrets })).toEqual(expected);
    },
  );
  await fc.assert(property, { numRuns: 12 });
});

test("config: modules of every kind are imported as what they are, under awkward names", async () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
  const worker = sampleModule(
    `import text from "./sub dir/a'\\"b.txt"; import data from "./all.bin"; import json from "./c.json";
     import wasm from "./d.wasm"; import common from "./e.cjs"; import { f } from "./f.mjs";
     export default { fetch() {
       return Response.json({ text, json, common, f, bytes: [...new Uint8Array(data)],
         wasm: wasm instanceof WebAssembly.Module });
     } };`,
    {
      modules: [
        { name: `./sub dir/a'"b.txt`, kind: "text", content: `te"xt\n\\` },
        { name: "./all.bin", kind: "data", content: bytes },
        { name: "./c.json", kind: "json", content: `{"a":[1,"é"]}` },
        { name: "./d.wasm", kind: "wasm", content: new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]) },
        { name: "./e.cjs", kind: "commonjs", content: `module.exports = { cjs: true };` },
        { name: "./f.mjs", kind: "esm", content: `export const f = "f";` },
      ],
    },
  );
  const ask = await cells.start([worker]);
  expect(JSON.parse((await ask(0)).body)).toEqual({
    text: `te"xt\n\\`,
    json: { a: [1, "é"] },
    common: { cjs: true },
    f: "f",
    bytes: [...bytes],
    wasm: true,
  });
});

test("config: the service-worker format finds its parts and texts as globals", async () => {
  const worker = sampleWorker({
    script: `addEventListener("fetch", (event) => event.respondWith(Response.json({
      wasm: WASM instanceof WebAssembly.Module, text: TEXT, data: new Uint8Array(DATA).length, plain: PLAIN })));`,
    modules: [
      { name: "w", kind: "wasm", content: new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]) },
      { name: "t", kind: "text", content: "text" },
      { name: "d", kind: "data", content: new Uint8Array(7) },
    ],
    bindings: [
      { type: "wasm_module", name: "WASM", part: "w" },
      { type: "text_blob", name: "TEXT", part: "t" },
      { type: "data_blob", name: "DATA", part: "d" },
      { type: "plain_text", name: "PLAIN", text: "plain" },
    ],
  });
  const ask = await cells.start([worker]);
  expect(JSON.parse((await ask(0)).body)).toEqual({
    wasm: true,
    text: "text",
    data: 7,
    plain: "plain",
  });
});

test("config: the version's metadata is bound with its tag and time", async () => {
  const worker = sampleModule(SHOW_ENV, {
    bindings: [{ type: "version_metadata", name: "META" }],
  });
  const ask = await cells.start([worker]);
  expect(JSON.parse((await ask(0)).body)).toEqual({
    META: { id: worker.version.id, tag: "v1", timestamp: "2026-11-22T10:00:00.000Z" },
  });
});

test("config: compatibility flags are each worker's own", async () => {
  const source = "export default { fetch() { return new Response(typeof navigator); } };";
  const ask = await cells.start([
    sampleModule(source, { name: "with", compatibilityFlags: ["global_navigator"] }),
    sampleModule(source, { name: "without", compatibilityFlags: ["no_global_navigator"] }),
  ]);
  expect([(await ask(0)).body, (await ask(1)).body]).toEqual(["object", "undefined"]);
});

test("config: a KV call carries the capability of its worker and namespace, and nothing forged", async () => {
  const worker = sampleModule(
    `export default { async fetch(_, env) { return new Response(await env.KV.get("a/é")); } };`,
    { bindings: [{ type: "kv_namespace", name: "KV", namespace_id: NAMESPACE }] },
  );
  const ask = await cells.start([worker], {
    kv: (request, response) =>
      response.end(`${request.url} ${String(request.headers["x-atoll-kv"])}`),
  });
  const forged = { headers: { "x-atoll-kv": "forged" } };
  expect((await ask(0, forged)).body).toBe(
    `/a%2F%C3%A9?urlencoded=true ${worker.key} ${NAMESPACE}`,
  );
});

test("config: what a worker fetches goes to the way out as an absolute form", async () => {
  const worker = sampleModule(
    `export default { async fetch() { return fetch("http://example.com:81/a?b"); } };`,
  );
  const ask = await cells.start([worker], {
    egress: (request, response) => response.end(request.url),
  });
  expect((await ask(0)).body).toBe("http://example.com:81/a?b");
});

test("config: request.cf and the scheme come from the ingress, and their headers do not show", async () => {
  const worker = sampleModule(
    `export default { fetch(request) {
       return Response.json({ cf: request.cf, url: request.url, seen: request.headers.has("x-atoll-cf") });
     } };`,
  );
  const ask = await cells.start([worker]);
  const headers = { host: "a.test", "x-atoll-cf": `{"colo":"fra"}`, "x-atoll-protocol": "https" };
  expect(JSON.parse((await ask(0, { headers, path: "/p" })).body)).toEqual({
    cf: { colo: "fra" },
    url: "https://a.test/p",
    seen: false,
  });
});

test("config: the Cache API misses and never throws", async () => {
  const worker = sampleModule(
    `export default { async fetch() {
       const cache = caches.default;
       const response = new Response("x".repeat(100_000), { headers: { "cache-control": "max-age=60" } });
       const put = await cache.put("http://a.test/", response);
       const named = await (await caches.open("named")).match("http://a.test/");
       return Response.json([String(put), String(await cache.match("http://a.test/")),
         await cache.delete("http://a.test/"), String(named)]);
     } };`,
  );
  const ask = await cells.start([worker]);
  expect(JSON.parse((await ask(0)).body)).toEqual(["undefined", "undefined", false, "undefined"]);
});

test("config: a worker may bind itself", async () => {
  const worker = sampleModule(
    `export default { async fetch(request, env) {
       if (new URL(request.url).pathname === "/inner") return new Response("inner");
       return new Response("outer " + await (await env.SELF.fetch("http://self/inner")).text());
     } };`,
    { bindings: [{ type: "service", name: "SELF", service: WorkerName.parse("sample") }] },
  );
  const ask = await cells.start([worker]);
  expect((await ask(0)).body).toBe("outer inner");
});

test("config: the order of the members does not matter, the content does", () => {
  const a = sampleModule(SHOW_ENV, { name: "a" });
  const b = sampleModule(SHOW_ENV, { name: "b" });
  const changed = { ...b, version: { ...b.version, compatibilityDate: "2026-10-01" } };
  const hashOf = (members: Parameters<typeof configureGroup>[0]): string =>
    configureGroup(members, () => "capability").hash;
  expect(hashOf([a, b])).toBe(hashOf([b, a]));
  expect(hashOf([a, b])).not.toBe(hashOf([a, changed]));
  expect(hashOf([a])).not.toBe(hashOf([a, b]));
  const blob = BlobHash.parse("d".repeat(64));
  const code = {
    kind: "modules" as const,
    modules: [{ name: "index.js", kind: "esm" as const, blob, size: 1 }],
  };
  expect(hashOf([{ ...a, version: { ...a.version, code } }])).not.toBe(hashOf([a]));
});

const INVALID: ReadonlyArray<{ name: string; sample: Sample; says: RegExp }> = [
  {
    name: "a secret without a value",
    sample: { bindings: [{ type: "secret_text", name: "toString" }] },
    says: /secret toString has no value/,
  },
  {
    name: "static files that it does not have",
    sample: { bindings: [{ type: "assets", name: "FILES" }] },
    says: /FILES binds static files, and there are none/,
  },
  {
    name: "a part that was not uploaded",
    sample: { bindings: [{ type: "wasm_module", name: "W", part: "gone" }] },
    says: /W binds no part gone/,
  },
  {
    name: "static files without a directory",
    sample: { assets: { manifest: MANIFEST } },
    says: /its static files have no directory/,
  },
];

test.each(INVALID)("config: $name is refused by name", ({ sample, says }) => {
  const worker = sampleModule(SHOW_ENV, sample);
  const configure = (): unknown => configureGroup([worker], () => "capability");
  expect(configure).toThrow(expect.objectContaining({ code: "config_invalid" }));
  expect(configure).toThrow(says);
});

test("config: neither code nor files is refused", () => {
  expect(() => configureGroup([sampleWorker({})], () => "capability")).toThrow(
    /neither code nor static files/,
  );
});

test("config: a trigger leads to the code, past static files, and only where schedules need it", () => {
  const code = "export default { scheduled() {} };";
  const assets = { manifest: BlobHash.parse("a".repeat(64)) };
  const group = [
    sampleModule(code, { name: "a-plain" }),
    sampleModule(code, { name: "b-scheduled", isScheduled: true }),
    sampleModule(code, { name: "c-site", isScheduled: true, assets, siteDirectory: "site" }),
    sampleWorker({ name: "d-files", isScheduled: true, assets, siteDirectory: "site" }),
  ];
  const { text, triggerSockets } = configureGroup(group, () => "capability");
  expect([...triggerSockets]).toEqual([
    [group[1]?.key, "w1-trigger"],
    [group[2]?.key, "w2-trigger"],
  ]);
  expect(text).toMatch(/w1-trigger[^]*name = "worker", service = "w1"/);
  expect(text).toMatch(/w2-trigger[^]*name = "worker", service = "w2-code"/);
});
