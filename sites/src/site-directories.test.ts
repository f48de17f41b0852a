import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AssetManifest, BlobHash } from "@atoll/control-plane/contract";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SiteDirectories } from "./site-directories.ts";

const SITE = BlobHash.parse("a".repeat(64));
const OTHER_SITE = BlobHash.parse("b".repeat(64));

let home: string;
let root: string;
let sites: SiteDirectories;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "atoll-sites-"));
  root = join(home, "sites");
  await mkdir(join(home, "blobs"));
  sites = new SiteDirectories({ root, log: { info: () => {} } });
});
afterEach(() => rm(home, { recursive: true, force: true }));

function blobPath(hash: BlobHash): string {
  return join(home, "blobs", hash);
}

async function storeFiles(files: Readonly<Record<string, string>>): Promise<AssetManifest> {
  const manifest: Record<string, unknown> = {};
  for (const [path, text] of Object.entries(files)) {
    const blob = BlobHash.parse(createHash("sha256").update(text).digest("hex"));
    await writeFile(blobPath(blob), text);
    manifest[path] = { blob, size: Buffer.byteLength(text) };
  }
  return AssetManifest.parse(manifest);
}

test("site directories: hold the manifest's files, as links to the blobs", async () => {
  const manifest = await storeFiles({
    "/index.html": "front",
    "/a/b/c.txt": "deep",
    "/grüße & 100%.txt": "named",
  });
  const path = await sites.materialise(SITE, manifest, blobPath);
  expect(path).toBe(join(root, SITE));
  expect((await readdir(path, { recursive: true })).toSorted()).toEqual(
    ["a", "a/b", "a/b/c.txt", "grüße & 100%.txt", "index.html"].toSorted(),
  );
  expect(await readFile(join(path, "a/b/c.txt"), "utf8")).toBe("deep");
  const blob = manifest["/index.html"]?.blob;
  const linked = await stat(join(path, "index.html"));
  expect(linked.ino).toBe((await stat(blobPath(blob as BlobHash))).ino);
});

const MEMORY = "/dev/shm";

test.skipIf(!existsSync(MEMORY) || statSync(MEMORY).dev === statSync(tmpdir()).dev)(
  "site directories: blobs on another file system are copied",
  async () => {
    const elsewhere = await mkdtemp(join(MEMORY, "atoll-sites-"));
    try {
      await writeFile(join(elsewhere, "blob"), "far");
      const manifest = { "/far.txt": { blob: SITE, size: 3 } };
      const path = await sites.materialise(SITE, manifest, () => join(elsewhere, "blob"));
      expect(await readFile(join(path, "far.txt"), "utf8")).toBe("far");
      expect((await stat(join(path, "far.txt"))).nlink).toBe(1);
    } finally {
      await rm(elsewhere, { recursive: true });
    }
  },
);

test("site directories: a site without files is an empty directory", async () => {
  expect(await readdir(await sites.materialise(SITE, {}, blobPath))).toEqual([]);
});

test("site directories: two files of the same content share the blob", async () => {
  const manifest = await storeFiles({ "/one.txt": "same", "/two.txt": "same" });
  const path = await sites.materialise(SITE, manifest, blobPath);
  expect((await stat(join(path, "one.txt"))).nlink).toBe(3);
});

test("site directories: asked again, nothing is built again, at the same time or later", async () => {
  const manifest = await storeFiles({ "/index.html": "front" });
  const paths = await Promise.all([
    sites.materialise(SITE, manifest, blobPath),
    sites.materialise(SITE, manifest, blobPath),
  ]);
  expect(new Set(paths).size).toBe(1);
  const before = (await stat(join(root, SITE))).ino;
  // The blobs are not needed for what is there: a restarted node may have none to spare.
  await rm(join(home, "blobs"), { recursive: true });
  const restarted = new SiteDirectories({ root, log: { info: () => {} } });
  await restarted.materialise(SITE, manifest, blobPath);
  expect((await stat(join(root, SITE))).ino).toBe(before);
});

test("site directories: one that is there is found, and only that", async () => {
  expect(await sites.find(SITE)).toBeUndefined();
  const path = await sites.materialise(SITE, await storeFiles({ "/a.txt": "a" }), blobPath);
  expect(await sites.find(SITE)).toBe(path);
  expect(await sites.find(OTHER_SITE)).toBeUndefined();
  await mkdir(join(root, `.unfinished-${OTHER_SITE}-1`));
  expect(await sites.find(OTHER_SITE)).toBeUndefined();
});

test("site directories: a missing blob leaves nothing behind, and may be there the next time", async () => {
  const manifest = await storeFiles({ "/index.html": "front", "/late.txt": "late" });
  const late = blobPath(manifest["/late.txt"]?.blob as BlobHash);
  await rm(late);
  await expect(sites.materialise(SITE, manifest, blobPath)).rejects.toMatchObject({
    code: "asset_blob_unusable",
  });
  expect(await readdir(root)).toEqual([]);
  await writeFile(late, "late");
  expect(await sites.materialise(SITE, manifest, blobPath)).toBe(join(root, SITE));
});

test("site directories: a blob of another size than the manifest's is refused", async () => {
  const manifest = await storeFiles({ "/index.html": "front" });
  await writeFile(blobPath(manifest["/index.html"]?.blob as BlobHash), "cut");
  await expect(sites.materialise(SITE, manifest, blobPath)).rejects.toMatchObject({
    code: "asset_blob_unusable",
  });
});

test("site directories: a path that would leave the directory is refused, and no file is made", async () => {
  const manifest = await storeFiles({ "/../../escaped.txt": "out", "/index.html": "in" });
  await expect(sites.materialise(SITE, manifest, blobPath)).rejects.toMatchObject({
    code: "asset_path_invalid",
  });
  expect((await readdir(home)).toSorted()).toEqual(["blobs"]);
});

test("site directories: the blobs' own modification times play no part", async () => {
  const manifest = await storeFiles({ "/index.html": "front" });
  const first = await stat(join(await sites.materialise(SITE, manifest, blobPath), "index.html"));
  await rm(home, { recursive: true });
  await mkdir(join(home, "blobs"), { recursive: true });
  await storeFiles({ "/index.html": "front" });
  const again = await stat(join(await sites.materialise(SITE, manifest, blobPath), "index.html"));
  expect(again.mtimeMs).toBe(first.mtimeMs);
});

test("site directories: a file that another site has, too, keeps its time", async () => {
  const manifest = await storeFiles({ "/index.html": "front" });
  const first = join(await sites.materialise(SITE, manifest, blobPath), "index.html");
  const { mtimeMs } = await stat(first);
  const more = { ...manifest, ...(await storeFiles({ "/more.html": "more" })) };
  const second = join(await sites.materialise(OTHER_SITE, more, blobPath), "index.html");
  expect((await stat(second)).mtimeMs).toBe(mtimeMs);
});

test("site directories: prune removes what is not kept, and what a dead process left", async () => {
  const manifest = await storeFiles({ "/index.html": "front" });
  await sites.materialise(SITE, manifest, blobPath);
  await sites.materialise(OTHER_SITE, manifest, blobPath);
  await mkdir(join(root, `.unfinished-${"c".repeat(64)}-1`));
  await sites.prune(new Set([SITE]));
  expect(await readdir(root)).toEqual([SITE]);
  expect(await readFile(join(root, SITE, "index.html"), "utf8")).toBe("front");
});

test("site directories: prune leaves alone what is being built", async () => {
  const files = Array.from({ length: 300 }, (_, index) => [`/${index}.txt`, `text ${index}`]);
  const manifest = await storeFiles(Object.fromEntries(files));
  let pruned: Promise<void> | undefined;
  const path = await sites.materialise(SITE, manifest, (hash) => {
    // Files are being placed now: the unfinished directory exists.
    pruned ??= sites.prune(new Set());
    return blobPath(hash);
  });
  await pruned;
  expect(await readdir(path)).toHaveLength(300);
});

test("site directories: prune before anything was made does nothing", async () => {
  await expect(sites.prune(new Set())).resolves.toBeUndefined();
});
