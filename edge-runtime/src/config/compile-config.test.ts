import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { installedWorkerdPath } from "../cells/workerd-host.ts";
import { ConfigCompiler } from "./compile-config.ts";
import { ConfigCache } from "./config-cache.ts";
import { configureGroup, type GroupConfig } from "./group-config.ts";
import { sampleModule } from "./sample-version.ts";

const KEY = new Uint8Array(32).fill(1);
const SECRET = "correct horse battery staple";
const SOURCE = "export default { fetch() { return new Response(); } };";
const worker = sampleModule(SOURCE, {
  bindings: [{ type: "secret_text", name: "S" }],
  secrets: { S: SECRET },
});

let directory: string;
let config: GroupConfig;
/** Blobs that compilations asked for. */
let reads: number;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-compile-"));
  config = configureGroup([worker], () => "capability");
  reads = 0;
});

afterEach(() => rm(directory, { recursive: true, force: true }));

async function readBlob(hash: string): Promise<Uint8Array> {
  reads += 1;
  return worker.readBlob(hash);
}

function openCache(key: Uint8Array = KEY): Promise<ConfigCache> {
  const log = pino({ level: "silent" });
  return ConfigCache.open({ directory: join(directory, "cache"), key, log });
}

async function openCompiler(
  options: { workerdPath?: string; key?: Uint8Array } = {},
): Promise<ConfigCompiler> {
  return ConfigCompiler.open({
    workerdPath: options.workerdPath ?? installedWorkerdPath(),
    scratchDirectory: join(directory, "scratch"),
    cache: await openCache(options.key),
  });
}

async function onlyCacheFile(): Promise<string> {
  const files = await readdir(join(directory, "cache"));
  expect(files).toHaveLength(1);
  return join(directory, "cache", files[0] ?? "");
}

test("compile: a config is compiled once, also across restarts and concurrent calls", async () => {
  const compiler = await openCompiler();
  const [first, second] = await Promise.all([
    compiler.compile(config, readBlob),
    compiler.compile(config, readBlob),
  ]);
  expect(second).toEqual(first);
  const restarted = await openCompiler();
  expect(Buffer.compare(await restarted.compile(config, readBlob), first)).toBe(0);
  expect(reads).toBe(1);
  expect(await readdir(join(directory, "scratch"))).toEqual([]);
});

test("compile: what was prepared is compiled, and read when it is needed", async () => {
  const compiler = await openCompiler();
  await compiler.prepare(config, readBlob);
  const prepared = await readFile(await onlyCacheFile());
  await (await openCompiler()).prepare(config, readBlob);
  await compiler.compile(config, readBlob);
  expect(reads).toBe(1);
  expect(Buffer.compare(await readFile(await onlyCacheFile()), prepared)).toBe(0);
});

test("compile: no secret is on disk in the clear, and files are the owner's alone", async () => {
  const compiled = await (await openCompiler()).compile(config, readBlob);
  expect(Buffer.from(compiled).includes(SECRET)).toBe(true);
  const file = await onlyCacheFile();
  expect((await readFile(file)).includes(SECRET)).toBe(false);
  // The plain hash would let a short secret be guessed.
  expect(file).not.toContain(config.hash);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await stat(join(directory, "cache"))).mode & 0o777).toBe(0o700);
});

test.each([
  { name: "cut", damage: (bytes: Buffer) => bytes.subarray(0, bytes.length - 1) },
  { name: "cut to nothing", damage: () => Buffer.alloc(0) },
  {
    name: "changed",
    damage: (bytes: Buffer) =>
      Buffer.from(bytes.map((byte, index) => (index === 40 ? ~byte : byte))),
  },
])("compile: a cached config that was $name is compiled again", async ({ damage }) => {
  const first = await (await openCompiler()).compile(config, readBlob);
  const file = await onlyCacheFile();
  await writeFile(file, damage(await readFile(file)));
  const again = await (await openCompiler()).compile(config, readBlob);
  expect(Buffer.compare(again, first)).toBe(0);
  expect(reads).toBe(2);
});

test("compile: under another key the cache is empty", async () => {
  await (await openCompiler()).compile(config, readBlob);
  await (await openCompiler({ key: new Uint8Array(32).fill(2) })).compile(config, readBlob);
  expect(reads).toBe(2);
  await expect(openCache(new Uint8Array(5))).rejects.toThrow(/has 32 bytes, not 5/);
});

test("compile: what is not retained is removed", async () => {
  const compiler = await openCompiler();
  await compiler.compile(config, readBlob);
  await writeFile(join(directory, "cache", "left.tmp"), "left by an interrupted write");
  await compiler.retain([config.hash]);
  await onlyCacheFile();
  await compiler.retain([]);
  expect(await readdir(join(directory, "cache"))).toEqual([]);
});

test("compile: where nothing can be kept, each config is compiled when it is needed", async () => {
  const compiler = await openCompiler();
  const first = await compiler.compile(config, readBlob);
  await rm(join(directory, "cache"), { recursive: true });
  expect(Buffer.compare(await compiler.compile(config, readBlob), first)).toBe(0);
  await compiler.retain([config.hash]);
  expect(reads).toBe(2);
});

test("compile: a source that workerd refuses is named, without what it holds", async () => {
  const compiler = await openCompiler();
  const broken = { ...config, hash: "broken", text: `${config.text} = "${SECRET}" nonsense` };
  const error: unknown = await compiler
    .compile(broken, readBlob)
    .catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "config_invalid" });
  expect(JSON.stringify(error) + String(error)).not.toContain(SECRET);
  expect((error as Error).cause).not.toHaveProperty("stdout");
});

test("compile: a blob that can't be had fails the call with its own reason", async () => {
  const compiler = await openCompiler();
  const failing = compiler.compile(config, () => Promise.reject(new Error("no such blob")));
  await expect(failing).rejects.toThrow("no such blob");
  // The failure is not remembered.
  await compiler.compile(config, readBlob);
  expect(await readdir(join(directory, "scratch"))).toEqual([]);
});

test("compile: at most a few compilers run at once, and what they left is removed at start", async () => {
  const counter = join(directory, "running");
  const script = join(directory, "slow-compiler");
  await writeFile(
    script,
    `#!/bin/sh\necho start >> ${counter}\n/bin/sleep 0.05\necho end >> ${counter}\n`,
  );
  await chmod(script, 0o755);
  const compiler = await openCompiler({ workerdPath: script });
  const configs = Array.from({ length: 6 }, (_, index) => ({ ...config, hash: `hash ${index}` }));
  await Promise.all(configs.map((one) => compiler.compile(one, readBlob)));
  const events = (await readFile(counter, "utf8")).trim().split("\n");
  let running = 0;
  const counts = events.map((event) => (running += event === "start" ? 1 : -1));
  expect(Math.max(...counts)).toBe(2);
  await writeFile(join(directory, "scratch", "left"), SECRET);
  await openCompiler();
  expect(await readdir(join(directory, "scratch"))).toEqual([]);
});
