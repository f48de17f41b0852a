import { generateKeyPairSync, hash } from "node:crypto";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  BlobHash,
  DesiredWorker,
  type AssetManifest,
  type BlobRecord,
} from "@atoll/control-plane/contract";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { BlobCache } from "./blob-cache.ts";
import { WorkerPreparer, type SiteMaterialiser } from "./worker-preparer.ts";

/** What the control plane has. */
let stored: Map<BlobHash, Buffer>;
/** What was asked for, call by call. */
let asked: Array<ReadonlyArray<BlobHash>>;
/** Sites that are there, with the files that were here when they were made. */
let made: Map<BlobHash, ReadonlyArray<boolean>>;
let directory: string;
let blobs: BlobCache;
let preparer: WorkerPreparer;

beforeEach(async () => {
  stored = new Map();
  asked = [];
  made = new Map();
  directory = await mkdtemp(join(tmpdir(), "atoll-preparer-"));
  blobs = openBlobs();
  const sites: SiteMaterialiser = {
    find: async (manifest) => (made.has(manifest) ? `/sites/${manifest}` : undefined),
    async materialise(manifest, files, blobPath) {
      const paths = Object.values(files).map(({ blob }) => blobPath(blob));
      made.set(manifest, await Promise.all(paths.map(isThere)));
      return `/sites/${manifest}`;
    },
    headers: (_, own) => own,
    prune: async (keep) => {
      for (const manifest of made.keys()) if (!keep.has(manifest)) made.delete(manifest);
    },
  };
  const sealingKey = generateKeyPairSync("x25519").privateKey;
  preparer = new WorkerPreparer({ blobs, sites, sealingKey });
});
afterEach(() => rm(directory, { recursive: true }));

function openBlobs(): BlobCache {
  async function* fetchBlobs(hashes: ReadonlyArray<BlobHash>): AsyncIterable<BlobRecord> {
    asked.push(hashes);
    for (const each of hashes) yield { hash: each, content: stored.get(each) };
  }
  return new BlobCache({ directory, fetchBlobs, log: pino({ level: "silent" }) });
}

const isThere = (path: string): Promise<boolean> => stat(path).then(Boolean, () => false);

function store(text: string): { readonly blob: BlobHash; readonly size: number } {
  const content = Buffer.from(text);
  const blob = BlobHash.parse(hash("sha256", content, "hex"));
  stored.set(blob, content);
  return { blob, size: content.length };
}

/** A worker whose only version has this code, and a site of these files. */
function workerOf(code: string, files: AssetManifest) {
  const module = { name: "index.js", kind: "esm", ...store(code) };
  const manifest = store(JSON.stringify(files)).blob;
  const worker = DesiredWorker.parse({
    account: "0".repeat(32),
    name: "site",
    routes: [],
    versions: [
      {
        percentage: 100,
        version: {
          id: "00000000-0000-4000-8000-000000000001",
          number: 1,
          createdAt: "2026-11-01T00:00:00Z",
          code: { kind: "modules", modules: [module] },
          compatibilityDate: "2026-01-01",
          compatibilityFlags: [],
          bindings: [],
          assets: { manifest },
        },
      },
    ],
  });
  const [deployed] = worker.versions;
  if (deployed === undefined) throw new Error("it has a version");
  return { worker, deployed, manifest, module };
}

type Site = ReturnType<typeof workerOf>;

test("worker preparer: asks once for what a version names, and once for its files", async () => {
  const files = { "/a.txt": store("a"), "/b.txt": store("b"), "/again.txt": store("a") };
  const { worker, deployed, manifest, module } = workerOf("first", files);
  const prepared = await preparer.prepare(worker, deployed);
  expect(prepared.siteDirectory).toBe(`/sites/${manifest}`);
  expect(asked).toEqual([
    [module.blob, manifest],
    [store("a").blob, store("b").blob],
  ]);
  expect(made.get(manifest)).toEqual([true, true, true]);
});

test("worker preparer: a version with a site that is here needs none of its files", async () => {
  const files = { "/a.txt": store("a"), "/b.txt": store("b") };
  const first = workerOf("first", files);
  await preparer.prepare(first.worker, first.deployed);
  await rm(blobs.path(store("a").blob));
  const second = workerOf("second", files);
  const prepared = await preparer.prepare(second.worker, second.deployed);
  expect(prepared.siteDirectory).toBe(`/sites/${first.manifest}`);
  expect(asked.slice(2)).toEqual([[second.module.blob]]);
});

test("worker preparer: a site is not made without one of its files, and is when that can be had", async () => {
  const files = { "/a.txt": store("a"), "/b.txt": store("b") };
  const { worker, deployed, manifest } = workerOf("first", files);
  stored.delete(files["/a.txt"].blob);
  await expect(preparer.prepare(worker, deployed)).rejects.toMatchObject({
    code: "blob_unavailable",
  });
  expect(made.size).toBe(0);
  store("a");
  await preparer.prepare(worker, deployed);
  expect(made.get(manifest)).toEqual([true, true]);
  // The other file was kept.
  expect(asked.at(-1)).toEqual([files["/a.txt"].blob]);
});

test("worker preparer: what is here of a version that failed stays, and what is nobody's goes", async () => {
  const [serving, failed, former, absent] = ["serving", "failed", "former", "absent"].map((name) =>
    workerOf(name, { "/own.txt": store(`file of ${name}`) }),
  ) as [Site, Site, Site, Site]; // of four names come four
  for (const { worker, deployed } of [serving, failed, former]) {
    await preparer.prepare(worker, deployed);
  }
  asked = [];
  await preparer.prune([serving.worker], [failed.worker, absent.worker]);
  expect(asked).toEqual([]);
  const here = [serving, failed, former, absent].map(async ({ manifest, module }) => [
    await isThere(blobs.path(module.blob)),
    made.has(manifest),
  ]);
  expect(await Promise.all(here)).toEqual([
    [true, true],
    [true, true],
    [false, false],
    [false, false],
  ]);
  expect(await isThere(blobs.path(store("file of failed").blob))).toBe(true);
  expect(await isThere(blobs.path(store("file of former").blob))).toBe(false);
});
