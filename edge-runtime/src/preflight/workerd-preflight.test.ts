import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PreflightResult } from "@atoll/control-plane/contract";
import pino from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sampleModule, sampleWorker, type Sample } from "../config/sample-version.ts";
import { WorkerdPreflight } from "./workerd-preflight.ts";

let directory: string;
let preflight: WorkerdPreflight;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-preflight-"));
  preflight = await WorkerdPreflight.open({
    directory: join(directory, "preflight"),
    log: pino({ level: "silent" }),
  });
});

afterAll(async () => {
  await preflight.dispose();
  await preflight.dispose();
  const isLeft = existsSync(join(directory, "preflight"));
  await rm(directory, { recursive: true, force: true });
  if (isLeft) throw new Error("the preflight left its directory");
});

function checkModule(source: string, sample: Sample = {}): Promise<PreflightResult> {
  return preflight.check(sampleModule(source, sample));
}

const OK = "export default { fetch() { return new Response() } };";

test("preflight: a version with every kind of binding starts", async () => {
  const result = await checkModule(
    `import text from "./a.txt"; import data from "./b.bin"; import json from "./c.json";
     import { Buffer } from "node:buffer";
     if (text !== "text" || data.byteLength !== 3 || json.x !== 1 || !Buffer) throw new Error("modules");
     export default { fetch() {} };`,
    {
      modules: [
        { name: "./a.txt", kind: "text", content: "text" },
        { name: "./b.bin", kind: "data", content: new Uint8Array([1, 0, 255]) },
        { name: "./c.json", kind: "json", content: `{"x":1}` },
      ],
      bindings: [
        { type: "plain_text", name: "TEXT", text: "t" },
        { type: "json", name: "JSON", json: { a: [1] } },
        { type: "secret_text", name: "SECRET" },
        { type: "kv_namespace", name: "KV", namespace_id: "f".repeat(32) as never },
        { type: "service", name: "S", service: "other" as never },
        { type: "service", name: "T", service: "other" as never, entrypoint: "Named" },
        { type: "service", name: "U", service: "candidate-0" as never, entrypoint: `od"d\n` },
        { type: "version_metadata", name: "META" },
        { type: "assets", name: "ASSETS" },
      ],
      secrets: { SECRET: "s" },
      assets: { manifest: "a".repeat(64) as never },
      compatibilityFlags: ["nodejs_compat"],
    },
  );
  expect(result).toMatchObject({ kind: "started" });
});

test("preflight: top-level code may take the memory that its account is granted", async () => {
  // Beyond what workerd itself may take besides.
  const source = `const kept = Array.from({ length: 500 }, () => new Uint8Array(1_000_000).fill(1)); ${OK}`;
  expect(await checkModule(source)).toEqual({
    kind: "failed",
    message: expect.stringMatching(/exceeded memory limit: .* 128 MB/),
  });
  expect(await checkModule(source, { settings: { memoryMib: 512 } })).toMatchObject({
    kind: "started",
  });
});

test("preflight: an assets-only version starts", async () => {
  const worker = sampleWorker({ assets: { manifest: "a".repeat(64) as never } });
  expect(await preflight.check(worker)).toMatchObject({ kind: "started" });
});

test.each([
  {
    name: "a throw at the top level",
    source: `function fail() { throw new Error("boom"); }\nfail();\n${OK}`,
    message: "Uncaught Error: boom\n  at index.js:1:25 in fail\n  at index.js:2:1",
  },
  {
    name: "a syntax error",
    source: "export default { fetch( }",
    message: "Uncaught SyntaxError: Unexpected token '}'\n  at index.js:1:24",
  },
  {
    name: "an unknown import",
    source: `import x from "./nowhere"; ${OK}`,
    message: 'Uncaught Error: No such module "nowhere".\n  imported from "index.js"',
  },
  {
    name: "an import that the module does not export",
    source: `import { nothing } from "node:assert"; ${OK}`,
    message: "nothing",
    flags: ["nodejs_compat"],
  },
  {
    name: "a throw, and no default export either",
    source: 'throw new Error("first");',
    message: "Uncaught Error: first\n  at index.js:1:7",
  },
  { name: "no export", source: "const a = 1;", message: "No event handlers were registered" },
  {
    name: "no default export",
    source: "export const fetch = () => 1;",
    message: "index.js has no default export",
  },
  {
    name: "no default export, though the words are there",
    source: "export const fetch = () => 1; // the default is elsewhere",
    message: "index.js has no default export",
  },
  {
    name: "a default export that is no handler",
    source: "export default 5;",
    message: "Uncaught TypeError: Incorrect type for map entry 'default'",
  },
  {
    name: "an unknown compatibility flag",
    source: OK,
    message: "No such compatibility flag: nonsense",
    flags: ["nonsense"],
  },
  {
    name: "forbidden work at the top level",
    source: `await fetch("http://example.com"); ${OK}`,
    message: "Disallowed operation called within global scope",
  },
])("preflight: $name is refused with what went wrong", async ({ source, message, flags }) => {
  const result = await checkModule(source, { compatibilityFlags: flags ?? [] });
  expect(result).toEqual({ kind: "failed", message: expect.stringContaining(message) as string });
  // Nothing of our own names is in the message.
  expect(JSON.stringify(result)).not.toMatch(/service w\d|stub|timestamp|workerd@/);
});

test("preflight: a broken wasm module is refused", async () => {
  const result = await checkModule(`import wasm from "./a.wasm"; ${OK}`, {
    modules: [{ name: "./a.wasm", kind: "wasm", content: "not wasm" }],
  });
  expect(result).toMatchObject({
    kind: "failed",
    message: expect.stringContaining("Uncaught CompileError: WasmModuleObject") as string,
  });
});

test("preflight: a loop at the top level is refused, and the process is ended", async () => {
  const result = await checkModule(`for (;;) {}\n${OK}`);
  expect(result).toMatchObject({
    kind: "failed",
    message: expect.stringContaining("Script startup exceeded CPU time limit") as string,
  });
  expect(await checkModule(OK)).toMatchObject({ kind: "started" });
});

test("preflight: frames of the service-worker format name the script", async () => {
  const worker = sampleWorker({
    script: `addEventListener("fetch", () => {});\nthrow new Error("sw");`,
  });
  expect(await preflight.check(worker)).toEqual({
    kind: "failed",
    message: "Uncaught Error: sw\n  at worker.js:2:7",
  });
  const silent = sampleWorker({ script: "const a = 1;" });
  expect(await preflight.check(silent)).toMatchObject({
    kind: "failed",
    message: expect.stringContaining("No event handlers were registered") as string,
  });
});

test("preflight: many checks at once all have their own answer", async () => {
  const results = await Promise.all(
    Array.from({ length: 6 }, (_, index) =>
      checkModule(index % 2 === 0 ? OK : `throw new Error("number ${index}");${OK}`),
    ),
  );
  expect(results.map((result) => result.kind)).toEqual(
    Array.from({ length: 6 }, (_, index) => (index % 2 === 0 ? "started" : "failed")),
  );
});
