import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BlobHash } from "@atoll/control-plane/contract";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlobCache } from "./blob-cache.ts";

const CONTENT = Buffer.from("content");
const HASH = BlobHash.parse(createHash("sha256").update(CONTENT).digest("hex"));

describe("blob cache", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test("fetches a blob once, however many ask, and then never again", async () => {
    let fetches = 0;
    const fetchBlob = async (): Promise<Uint8Array> => {
      fetches += 1;
      return CONTENT;
    };
    const blobs = new BlobCache({ directory, fetchBlob });
    await Promise.all(Array.from({ length: 10 }, () => blobs.read(HASH)));
    const later = new BlobCache({ directory, fetchBlob });
    expect(Buffer.from(await later.read(HASH))).toEqual(CONTENT);
    expect(fetches).toBe(1);
  });

  test("refuses content that is not what its hash says, and keeps nothing of it", async () => {
    const blobs = new BlobCache({ directory, fetchBlob: async () => Buffer.from("other") });
    await expect(blobs.ensure(HASH)).rejects.toMatchObject({ code: "blob_unavailable" });
    const mended = new BlobCache({ directory, fetchBlob: async () => CONTENT });
    expect(Buffer.from(await mended.read(HASH))).toEqual(CONTENT);
  });

  test("says which blob can't be had, with the cause", async () => {
    const cause = new Error("unreachable");
    const blobs = new BlobCache({ directory, fetchBlob: () => Promise.reject(cause) });
    await expect(blobs.ensure(HASH)).rejects.toMatchObject({
      code: "blob_unavailable",
      message: expect.stringContaining(HASH),
      cause,
    });
  });

  test("removes what nothing needs any more", async () => {
    const blobs = new BlobCache({ directory, fetchBlob: async () => CONTENT });
    await blobs.ensure(HASH);
    expect(await blobs.prune(new Set([HASH]))).toBe(0);
    expect(await blobs.prune(new Set())).toBe(1);
  });
});
