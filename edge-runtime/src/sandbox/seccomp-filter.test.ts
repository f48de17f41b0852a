import { spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Writable } from "node:stream";
import pino from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { askCell } from "../cells/cell-client.ts";
import type { Cell } from "../cells/cell-host.ts";
import { sampleCellSpec } from "../cells/sample-spec.ts";
import { makeTestDirectory } from "../cells/test-directory.ts";
import { WorkerdHost } from "../cells/workerd-host.ts";
import { seccompFilter, type Architecture } from "./seccomp-filter.ts";

const FILTER = seccompFilter(process.arch as Architecture);
const isX64 = process.arch === "x64";

/** Runs a line of perl, which can make any system call, under the filter. */
async function callUnderFilter(
  perl: string,
): Promise<{ readonly end: string; readonly out: string }> {
  const child = spawn(
    "/usr/bin/bwrap",
    ["--ro-bind", "/", "/", "--dev", "/dev", "--seccomp", "3", "/usr/bin/perl", "-e", perl],
    { stdio: ["ignore", "pipe", "pipe", "pipe"] },
  );
  (child.stdio[3] as Writable).end(FILTER);
  let out = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk) => (out += String(chunk)));
  }
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once("close", (...end) => resolve(end));
  });
  return { end: String(signal ?? code), out };
}

// What bubblewrap ends with when the process was ended by SIGSYS.
const KILLED = `${128 + 31}`;
const say = `print $r < 0 ? $!+0 : "allowed"`;

test.runIf(isX64).each([
  { name: "unshare", call: "272, 0x10000000" },
  { name: "setns", call: "308, 0, 0" },
  { name: "mount", call: "165, 0, 0, 0, 0, 0" },
  { name: "umount2", call: "166, 0, 0" },
  { name: "pivot_root", call: "155, 0, 0" },
  { name: "chroot", call: "161, 0" },
  { name: "ptrace", call: "101, 0, 0, 0, 0" },
  { name: "process_vm_readv", call: "310, 1, 0, 0, 0, 0, 0" },
  { name: "bpf", call: "321, 0, 0, 0" },
  { name: "perf_event_open", call: "298, 0, 0, 0, 0, 0" },
  { name: "keyctl", call: "250, 0, 0, 0, 0, 0" },
  { name: "add_key", call: "248, 0, 0, 0, 0, 0" },
  { name: "kexec_load", call: "246, 0, 0, 0, 0" },
  { name: "init_module", call: "175, 0, 0, 0" },
  { name: "userfaultfd", call: "323, 0" },
  { name: "open_by_handle_at", call: "304, 0, 0, 0" },
  { name: "mknod", call: "133, 0, 0, 0" },
  { name: "setuid", call: "105, 0" },
  { name: "reboot", call: "169, 0, 0, 0, 0" },
  { name: "a call of the x32 numbering", call: "0x40000027" },
  { name: "a call that does not exist", call: "9999" },
])("seccomp: $name ends the process", async ({ call }) => {
  const { end, out } = await callUnderFilter(`my $r = syscall(${call}); ${say}`);
  expect({ end, out }).toMatchObject({ end: KILLED });
});

test.runIf(isX64).each([
  { name: "fork", call: "57", error: 1 },
  { name: "clone of a process", call: "56, 17, 0, 0, 0, 0", error: 1 },
  { name: "clone into a user namespace", call: "56, 0x10010000, 0, 0, 0, 0", error: 1 },
  { name: "clone3", call: "435, 0, 0", error: 38 },
  { name: "kill", call: "62, 1, 9", error: 1 },
  { name: "a network socket", call: "41, 2, 1, 0", error: 97 },
  { name: "an IPv6 socket", call: "41, 10, 1, 0", error: 97 },
  { name: "a netlink socket", call: "41, 16, 3, 0", error: 97 },
  { name: "a raw packet socket", call: "41, 17, 3, 0", error: 97 },
  { name: "io_uring_setup", call: "425, 1, 0", error: 38 },
  { name: "typing into a terminal", call: "16, 0, 0x5412, 0", error: 25 },
  { name: "dropping no_new_privs", call: "157, 38, 0, 0, 0, 0", error: 1 },
])("seccomp: $name is refused with an error", async ({ call, error }) => {
  const { out } = await callUnderFilter(`my $r = syscall(${call}); ${say}`);
  expect(out).toBe(`${error}`);
});

test.runIf(isX64).each([
  { name: "getpid", call: "39" },
  { name: "a unix socket", call: "41, 1, 1, 0" },
])("seccomp: $name is allowed", async ({ call }) => {
  const { end, out } = await callUnderFilter(`my $r = syscall(${call}); ${say}`);
  expect({ end, out }).toEqual({ end: "0", out: "allowed" });
});

test("seccomp: both architectures have a filter that ends in a kill and fits the kernel", () => {
  for (const architecture of ["x64", "arm64"] as const) {
    const filter = Buffer.from(seccompFilter(architecture));
    expect(filter.length % 8).toBe(0);
    expect(filter.length / 8).toBeLessThan(4_096);
    expect(filter.readUInt32LE(filter.length - 4)).toBe(0x80000000);
  }
});

// What workers do that has workerd ask the kernel for something: each must pass the filter.
const EVERYTHING = `
  import crypto from "node:crypto"; import zlib from "node:zlib"; import fs from "node:fs";
  import { Buffer } from "node:buffer"; import os from "node:os"; import dns from "node:dns";
  export default { async fetch(request) {
    const tried = {};
    const attempt = async (name, run) => {
      try { tried[name] = String(await run()); } catch (error) { tried[name] = "error: " + error; }
    };
    await attempt("random", () => crypto.randomBytes(16).length);
    await attempt("key", async () => (await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign"])).publicKey.type);
    await attempt("scrypt", () => crypto.scryptSync("a", "b", 32).length);
    await attempt("gzip", () => zlib.gunzipSync(zlib.gzipSync(Buffer.alloc(100_000))).length);
    await attempt("brotli", () => zlib.brotliDecompressSync(zlib.brotliCompressSync(Buffer.alloc(100_000))).length);
    await attempt("stream", async () => (await new Response(new Blob(["x".repeat(100_000)]).stream().pipeThrough(new CompressionStream("gzip")).pipeThrough(new DecompressionStream("gzip"))).text()).length);
    await attempt("files", () => { fs.writeFileSync("/tmp/x", "y"); return fs.readFileSync("/tmp/x", "utf8"); });
    await attempt("zones", () => new Date(0).toLocaleString("de-DE", { timeZone: "Asia/Tokyo" }));
    await attempt("timer", () => new Promise((resolve) => setTimeout(() => resolve("fired"), 20)));
    await attempt("sockets", () => { const [a, b] = Object.values(new WebSocketPair()); a.accept(); b.accept(); return new Promise((resolve) => { a.addEventListener("message", ({ data }) => resolve(data)); b.send("message"); }); });
    await attempt("hot code", () => { let sum = 0; for (let i = 0; i < 2e7; i += 1) sum += i % 7; return sum; });
    await attempt("garbage", () => { for (let i = 0; i < 60; i += 1) new Uint8Array(1e6).fill(i); return "collected"; });
    await attempt("regular expression", () => /(a+)+b/.test("a".repeat(18)));
    await attempt("wasm", async () => { const page = new WebAssembly.Memory({ initial: 10 }); page.grow(10); return page.buffer.byteLength; });
    await attempt("log", () => console.log("hello"));
    await attempt("system", () => os.platform() + process.pid + process.memoryUsage().rss);
    await attempt("fetch", () => fetch("http://example.com/").then((response) => response.status));
    await attempt("name", () => dns.promises.resolve4("example.com"));
    await attempt("exception", () => new Promise((_, reject) => queueMicrotask(() => reject(new Error("thrown")))));
    return Response.json(tried);
  } };
`;

let directory: string;
let host: WorkerdHost;
let cell: Cell;

beforeAll(async () => {
  directory = await makeTestDirectory("atoll-seccomp-");
  const log = pino({ level: "silent" });
  host = await WorkerdHost.open({ runDirectory: join(directory, "run"), zygoteCount: 0, log });
  cell = await host.start(
    await sampleCellSpec(EVERYTHING, directory, { compatibilityFlags: ["nodejs_compat"] }),
  );
});

afterAll(async () => {
  await host.dispose();
  await rm(directory, { recursive: true, force: true });
});

test("seccomp: nothing that workers do under load is refused to workerd", async () => {
  const ask = async (): Promise<Record<string, string>> => {
    const { body } = await askCell({ socketPath: cell.socketPath("w0"), timeoutMs: 30_000 });
    return JSON.parse(body) as Record<string, string>;
  };
  const answers: Array<Record<string, string>> = [];
  // A few at a time: more make garbage faster than it is collected, and the cell is ended for its memory.
  for (let round = 0; round < 4; round += 1) {
    answers.push(...(await Promise.all(Array.from({ length: 4 }, ask))));
  }
  for (const answer of answers) {
    expect(answer).toMatchObject({
      random: "16",
      key: "public",
      scrypt: "32",
      gzip: "100000",
      brotli: "100000",
      stream: "100000",
      files: "y",
      timer: "fired",
      sockets: "message",
      "hot code": expect.stringMatching(/^\d+$/) as string,
      garbage: "collected",
      exception: "error: Error: thrown",
    });
  }
}, 60_000);
