import { hash } from "node:crypto";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BlobHash, type BlobRecord } from "@atoll/control-plane/contract";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { BlobCache } from "./blob-cache.ts";

const CONTENT = Buffer.from("content");
const HASH = hashOf(CONTENT);

function hashOf(content: Uint8Array): BlobHash {
  return BlobHash.parse(hash("sha256", content, "hex"));
}

/** What a control plane says of contents that it has. */
function recordsOf(contents: ReadonlyArray<Uint8Array>): ReadonlyArray<BlobRecord> {
  return contents.map((content) => ({ hash: hashOf(content), content }));
}

function contentsOf(count: number, sizeBytes = 20): ReadonlyArray<Buffer> {
  return Array.from({ length: count }, (_, index) => Buffer.alloc(sizeBytes, `content ${index}.`));
}

describe("blob cache", () => {
  let directory: string;
  /** All hashes that were asked for, call by call. */
  let asked: Array<ReadonlyArray<BlobHash>>;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
    asked = [];
  });
  afterEach(() => rm(directory, { recursive: true }));

  /** A cache whose control plane answers so, and then breaks off if there is a cause for it. */
  function openCache(records: ReadonlyArray<BlobRecord>, cause?: Error): BlobCache {
    async function* fetchBlobs(hashes: ReadonlyArray<BlobHash>): AsyncIterable<BlobRecord> {
      asked.push(hashes);
      yield* records.filter((record) => hashes.includes(record.hash));
      if (cause !== undefined) throw cause;
    }
    return new BlobCache({ directory, fetchBlobs });
  }

  const isHere = async (blobs: BlobCache, hash: BlobHash): Promise<boolean> =>
    (await stat(blobs.path(hash)).catch(() => undefined))?.isFile() ?? false;

  test("fetches a blob once, however many ask, and then never again", async () => {
    const blobs = openCache(recordsOf([CONTENT]));
    await Promise.all(Array.from({ length: 10 }, () => blobs.read(HASH)));
    const later = openCache([]);
    expect(Buffer.from(await later.read(HASH))).toEqual(CONTENT);
    await later.ensure([HASH]);
    expect(asked).toEqual([[HASH]]);
  });

  test("fetches together what is missing of many, each once", async () => {
    const contents = [...contentsOf(LIMITS.blobGroupCount + 5), Buffer.alloc(0)];
    const hashes = contents.map(hashOf);
    const blobs = openCache(recordsOf(contents));
    await blobs.ensure(hashes.slice(0, 10));
    await blobs.ensure([...hashes, ...hashes]);
    expect(asked.map((each) => each.length)).toEqual([10, hashes.length - 10]);
    const later = openCache([]);
    for (const [index, content] of contents.entries()) {
      expect(Buffer.from(await later.read(hashes[index] as BlobHash)).equals(content)).toBe(true);
    }
    // Nothing else is there: what was being written has its name now.
    const names = await readdir(directory, { recursive: true });
    expect(names.filter((name) => name.includes("/"))).toHaveLength(hashes.length);
  });

  test("has no more in memory than a group, and the one that came last", async () => {
    const contents = contentsOf(4, LIMITS.blobGroupBytes / 2);
    const others = contentsOf(LIMITS.blobGroupCount);
    const here: number[] = [];
    async function* fetchBlobs(): AsyncIterable<BlobRecord> {
      for (const record of recordsOf([...contents, ...others])) {
        yield record;
        const names = await readdir(directory, { recursive: true });
        here.push(names.filter((name) => name.includes("/")).length);
      }
    }
    await new BlobCache({ directory, fetchBlobs }).ensure([...contents, ...others].map(hashOf));
    // After each: what was asked for last is written when the next is asked for.
    const expected = [0, 2, 2, 4];
    for (let index = 1; index <= others.length; index += 1) {
      expected.push(4 + index - (index % LIMITS.blobGroupCount));
    }
    expect(here).toEqual(expected);
  });

  test("refuses content that is not what its hash says, and keeps nothing but the others", async () => {
    const others = contentsOf(5);
    const damaged = { hash: HASH, content: Buffer.from("other") };
    const blobs = openCache([...recordsOf(others.slice(0, 3)), damaged, ...recordsOf(others)]);
    await expect(blobs.ensure([HASH, ...others.map(hashOf)])).rejects.toMatchObject({
      code: "blob_unavailable",
      message: `blob ${HASH} arrived as ${hashOf(damaged.content)}: damaged on its way`,
    });
    for (const other of others) expect(await isHere(blobs, hashOf(other))).toBe(true);
    expect(await isHere(blobs, HASH)).toBe(false);
    const mended = openCache(recordsOf([CONTENT]));
    expect(Buffer.from(await mended.read(HASH))).toEqual(CONTENT);
  });

  test("says which blob the control plane does not have, and keeps the others", async () => {
    const others = contentsOf(2);
    const records = recordsOf(others);
    const blobs = openCache([{ hash: HASH, content: undefined }, ...records]);
    await expect(blobs.ensure([HASH, ...others.map(hashOf)])).rejects.toMatchObject({
      code: "blob_unavailable",
      message: expect.stringContaining(HASH),
    });
    for (const other of others) expect(await isHere(blobs, hashOf(other))).toBe(true);
  });

  test("says what can't be had when the fetching breaks off, with the cause, and keeps what came", async () => {
    const contents = contentsOf(5);
    const hashes = contents.map(hashOf);
    const cause = new Error("unreachable");
    const blobs = openCache(recordsOf(contents.slice(0, 3)), cause);
    await expect(blobs.ensure(hashes)).rejects.toMatchObject({
      code: "blob_unavailable",
      message: `blob ${hashes[3]} and 1 others could not be fetched`,
      cause,
    });
    const back = openCache(recordsOf(contents));
    await back.ensure(hashes);
    expect(asked.at(-1)).toEqual(hashes.slice(3));
  });

  test("a disk that takes no more fails who asks, and not what others ask for", async () => {
    const [first, second] = contentsOf(2).map(hashOf) as [BlobHash, BlobHash];
    const blobs = openCache(recordsOf(contentsOf(2)));
    await writeFile(join(directory, first.slice(0, 2)), "no folder");
    await expect(blobs.ensure([first])).rejects.toMatchObject({ code: "EEXIST" });
    await blobs.ensure([second]);
    expect(await isHere(blobs, second)).toBe(true);
  });

  test("removes what nothing needs any more", async () => {
    const blobs = openCache(recordsOf([CONTENT]));
    await blobs.ensure([HASH]);
    expect(await blobs.prune(new Set([HASH]))).toBe(0);
    expect(await blobs.prune(new Set())).toBe(1);
    await blobs.ensure([HASH]);
    expect(await isHere(blobs, HASH)).toBe(true);
  });
});
