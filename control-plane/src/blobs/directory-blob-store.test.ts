import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { describeBlobStore } from "./blob-store.conformance.ts";
import { blobHashOf, DirectoryBlobStore } from "./directory-blob-store.ts";

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
