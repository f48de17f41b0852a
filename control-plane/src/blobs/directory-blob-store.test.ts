import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { blobHashOf, HashedContent } from "./blob-hash.ts";
import { describeBlobStore } from "./blob-store.conformance.ts";
import { DirectoryBlobStore } from "./directory-blob-store.ts";

describeBlobStore("directory blob store", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
  return {
    store: new DirectoryBlobStore(directory),
    reopen: () => new DirectoryBlobStore(directory),
    damage: async (hash) => {
      const path = join(directory, hash.slice(0, 2), hash);
      const content = await readFile(path);
      content[0] = (content[0] ?? 0) ^ 1;
      await writeFile(path, content);
    },
    close: () => rm(directory, { recursive: true, force: true }),
  };
});

test("directory blob store: a blob is one file, and nothing else is left beside it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
  try {
    const content = Buffer.from("content");
    const hash = blobHashOf(content);
    await new DirectoryBlobStore(directory).put(hash, content);
    expect(await readdir(directory, { recursive: true })).toEqual([
      hash.slice(0, 2),
      join(hash.slice(0, 2), hash),
    ]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("directory blob store: what a killed process left is removed, and what another one is writing stays", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
  try {
    const content = Buffer.from("content");
    const hash = blobHashOf(content);
    const folder = join(directory, hash.slice(0, 2));
    await mkdir(folder);
    await writeFile(join(folder, ".left"), "half");
    const longAgo = new Date(Date.now() - LIMITS.blobWritingMs - 60_000);
    await utimes(join(folder, ".left"), longAgo, longAgo);
    await writeFile(join(folder, ".under-way"), "half");
    await new DirectoryBlobStore(directory).put(hash, content);
    expect((await readdir(folder)).sort()).toEqual([".under-way", hash]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("directory blob store: of batches that are not admitted, or cut, nothing is left", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
  const store = new DirectoryBlobStore(directory);
  const blobs = Array.from({ length: 40 }, (_, size) => HashedContent.of(Buffer.alloc(size)));
  const filesLeft = async () => {
    const files = await readdir(directory, { recursive: true, withFileTypes: true });
    return files.filter((file) => file.isFile());
  };
  async function* cut() {
    yield blobs;
    throw new Error("the sender went away");
  }
  try {
    const refuse = () => Promise.reject(new Error("not now"));
    await expect(store.putAll([blobs], refuse)).rejects.toThrow("not now");
    await expect(store.putAll(cut())).rejects.toThrow("went away");
    expect(await filesLeft()).toEqual([]);
    await store.putAll([blobs]);
    expect(await filesLeft()).toHaveLength(blobs.length);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("directory blob store: a disk that takes no more is told of as such", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
  try {
    const content = Buffer.from("content");
    const hash = blobHashOf(content);
    async function* full(): AsyncIterable<Uint8Array> {
      yield content;
      throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    }
    const storing = new DirectoryBlobStore(directory).put(hash, full());
    await expect(storing).rejects.toMatchObject({ code: "blobs_unavailable", retryable: true });
    expect(await readdir(join(directory, hash.slice(0, 2)))).toEqual([]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("directory blob store: a folder that is not ours to write is told of as such, and used once it is", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
  const isRoot = process.geteuid?.() === 0;
  try {
    await chmod(directory, 0o500);
    const store = new DirectoryBlobStore(directory);
    const content = Buffer.from("content");
    const hash = blobHashOf(content);
    // Root may write everywhere.
    if (isRoot) process.seteuid?.(NOBODY);
    const storing = store.put(hash, content);
    await expect(storing).rejects.toMatchObject({ code: "blobs_unavailable", retryable: true });
    if (isRoot) process.seteuid?.(0);
    await chmod(directory, 0o700);
    await store.put(hash, content);
    expect(await store.has(hash)).toBe(true);
  } finally {
    if (isRoot) process.seteuid?.(0);
    await rm(directory, { recursive: true, force: true });
  }
});

const NOBODY = 65_534;
