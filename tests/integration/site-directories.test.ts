import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AssetManifest, BlobHash } from "@atoll/control-plane/contract";
import { SiteDirectories } from "@atoll/sites";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { findFreePorts } from "../support/free-ports.ts";

// What workerd itself makes of a directory: the ground on which sites are built.

let home: string;
const cleanups: Array<() => Promise<unknown>> = [];

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "atoll-site-"));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  await rm(home, { recursive: true, force: true });
});

interface SiteFile {
  readonly text: string;
  readonly contentType?: string;
}

/** Serves files as a node does, from a directory made of blobs stored now. Resolves with the URL. */
async function serve(
  files: Readonly<Record<string, SiteFile>>,
  ownHeaders?: string,
): Promise<string> {
  const node = await mkdtemp(join(home, "node-"));
  await mkdir(join(node, "blobs"));
  const manifest: Record<string, unknown> = {};
  for (const [path, { text, contentType }] of Object.entries(files)) {
    const blob = createHash("sha256").update(text).digest("hex");
    await writeFile(join(node, "blobs", blob), text);
    manifest[path] = { blob, size: Buffer.byteLength(text), contentType };
  }
  const sites = new SiteDirectories({ root: join(node, "sites"), log: { info: () => {} } });
  const parsed = AssetManifest.parse(manifest);
  const hash = BlobHash.parse("a".repeat(64));
  const path = await sites.materialise(hash, parsed, (blob) => join(node, "blobs", blob));
  return startWorkerd(node, path, { headers: sites.headers(parsed, ownHeaders) });
}

async function startWorkerd(node: string, path: string, config: object): Promise<string> {
  const port = await findFreePorts(1);
  const text = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "site", assets = (path = ${JSON.stringify(path)},
    config = ${JSON.stringify(JSON.stringify(config))}, compatibilityDate = "2026-04-01"))],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "site")],
);`;
  await writeFile(join(node, "config.capnp"), text);
  const workerd = spawn(workerdPath(), ["serve", "--experimental", join(node, "config.capnp")], {
    stdio: "inherit",
  });
  cleanups.push(() => end(workerd));
  const url = `http://127.0.0.1:${port}`;
  await eventually(() => fetch(url), { what: "workerd serves the site" });
  return url;
}

/** The binary itself: the command of the package is a script that starts it and can't end it. */
function workerdPath(): string {
  const wrangler = createRequire(import.meta.url).resolve("wrangler/package.json");
  return (createRequire(wrangler)("workerd") as { readonly default: string }).default;
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

async function etagOf(url: string): Promise<string> {
  const response = await fetch(url);
  await response.arrayBuffer();
  return response.headers.get("etag") ?? "";
}

test("site directories: files of every name are served under their encoded paths", async () => {
  const names = ["plain.txt", "grüße aus köln.txt", "100% & more.txt", "a?b#c.txt", "q'\"x.txt"];
  const files = Object.fromEntries(names.map((name) => [`/deep/${name}`, { text: name }]));
  const url = await serve(files);
  for (const name of names) {
    const response = await fetch(`${url}/deep/${encodeURIComponent(name)}`, { redirect: "manual" });
    expect([name, response.status, await response.text()]).toEqual([name, 200, name]);
  }
});

test("site directories: a file's ETag is the same on every node, and another for other content of the same size", async () => {
  const one = await serve({ "/a.txt": { text: "first" } });
  const other = await serve({ "/a.txt": { text: "first" } });
  const changed = await serve({ "/a.txt": { text: "later" } });
  const etag = await etagOf(`${one}/a.txt`);
  expect(etag).toMatch(/^".+"$/);
  expect(await etagOf(`${other}/a.txt`)).toBe(etag);
  expect(await etagOf(`${changed}/a.txt`)).not.toBe(etag);
  const again = await fetch(`${other}/a.txt`, { headers: { "if-none-match": etag } });
  expect(again.status).toBe(304);
});

test("site directories: the manifest's content types are served, whatever the name", async () => {
  const types = {
    "/a.txt": "text/plain; charset=utf-8",
    "/b.yml": "text/yaml; charset=utf-8",
    "/sub/c d:ü@(1).docx":
      "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "/e.vtt": "text/vtt; charset=utf-8",
    "/mine.vtt": "text/vtt; charset=utf-8",
    "/f.cjs": "application/node",
  };
  const files = Object.fromEntries(
    Object.entries(types).map(([path, contentType]) => [path, { text: path, contentType }]),
  );
  const own = "/e.vtt\n  X-Own: 1\n/mine.vtt\n  Content-Type: text/mine\n";
  const url = await serve(files, own);
  for (const [path, contentType] of Object.entries({ ...types, "/mine.vtt": "text/mine" })) {
    const encoded = path.split("/").map(encodeURIComponent).join("/");
    const response = await fetch(`${url}${encoded}`, { redirect: "manual" });
    expect([path, response.headers.get("content-type")]).toEqual([path, contentType]);
    expect(response.headers.get("x-own")).toBe(path === "/e.vtt" ? "1" : null);
  }
});

// Extensions of what the web is made of, among them all that workerd knows today.
const EXTENSIONS =
  "3gp 7z apk apng atom avi avif bin bmp br cjs conf css csv doc docx eot epub exe flac geojson gif glb gz " +
  "heic htm html ico ics jar jpeg jpg js json jsonld jsx jxl log m3u8 m4a map md mjs mov mp3 mp4 mpd oga ogg " +
  "ogv opus otf pdf png pptx ps rar rss rtf sh sql srt svg swf tar tif toml ts tsv ttf txt vcf vtt wasm wav " +
  "weba webm webmanifest webp wgsl woff woff2 xhtml xlsx xml yaml yml zip";

test("site directories: the types that workerd is taken to give are those that it gives", async () => {
  const extensions = EXTENSIONS.split(" ");
  const paths = extensions.map((extension) => `/f.${extension}`);
  const url = await serve(Object.fromEntries(paths.map((path) => [path, { text: path }])), "");
  const sites = new SiteDirectories({ root: home, log: { info: () => {} } });
  for (const path of paths) {
    const response = await fetch(url + path);
    const type = response.headers.get("content-type");
    const file = { blob: BlobHash.parse("a".repeat(64)), size: 1 };
    const manifest = { [path]: { ...file, contentType: type ?? "text/any" } };
    // A rule where workerd gives no type, and none where it gives the right one.
    expect([path, sites.headers(manifest, undefined) === undefined]).toEqual([path, type !== null]);
  }
});
