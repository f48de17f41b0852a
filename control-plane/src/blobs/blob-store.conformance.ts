import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlobHash } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { HashedContent } from "./blob-hash.ts";
import type { BlobStore } from "./blob-store.ts";

export interface BlobStoreHarness {
  readonly store: BlobStore;
  /** Another store over the same content, as after a restart. */
  reopen(): BlobStore;
  /** Changes one byte of stored content behind the store's back. */
  damage(hash: BlobHash): Promise<void>;
  close(): Promise<void>;
}

/** What every blob store promises. */
export function describeBlobStore(name: string, open: () => Promise<BlobStoreHarness>): void {
  describe(`${name}: `, () => {
    let harness: BlobStoreHarness;
    beforeEach(async () => {
      harness = await open();
    });
    afterEach(() => harness.close());

    test.each([0, 1, 65_536])("content of %i bytes comes back as it was", async (size) => {
      const content = Buffer.alloc(size, 7);
      const hash = hashOf(content);
      await harness.store.put(hash, content);
      expect(await harness.store.has(hash)).toBe(true);
      expect(Buffer.from((await harness.reopen().get(hash)) ?? [])).toEqual(content);
    });

    test.each([0, 1, 65_536, 1_000_000])(
      "content of %i bytes goes and comes in pieces",
      async (size) => {
        const content = Buffer.alloc(size, 7);
        const hash = hashOf(content);
        for (let time = 0; time < 2; time += 1) {
          await harness.store.put(hash, pieces(content));
          const opened = await harness.reopen().open(hash);
          expect(opened?.sizeBytes).toBe(size);
          const isWhole = opened?.content instanceof Uint8Array;
          expect(isWhole).toBe(size <= LIMITS.blobWholeBytesMax);
          const back = Buffer.from(await new Response(opened?.content).arrayBuffer());
          expect(back.equals(content)).toBe(true);
        }
      },
    );

    test("many are stored together, also when some are there already", async () => {
      const sizes = [0, ...Array.from({ length: 30 }, (_, index) => 1 + index * 3_000)];
      const contents = sizes.map((size) => HashedContent.of(Buffer.alloc(size, "content")));
      await harness.store.put(contents[1]?.hash as BlobHash, Buffer.alloc(1, "content"));
      await harness.store.putAll([contents]);
      await harness.store.putAll([contents, []]);
      await harness.store.putAll([]);
      const reopened = harness.reopen();
      for (const { hash, content } of contents) {
        expect(Buffer.from((await reopened.get(hash)) ?? []).equals(content)).toBe(true);
      }
    });

    test("batches may share their memory: one is asked for when the one before is written", async () => {
      const memory = Buffer.alloc(300_000);
      const hashes: BlobHash[] = [];
      async function* batches(): AsyncIterable<ReadonlyArray<HashedContent>> {
        for (let batch = 1; batch <= 5; batch += 1) {
          memory.fill(batch);
          const contents = [10, 70_000, 100_000].map((size) => memory.subarray(size, 2 * size));
          const hashed = contents.map((content) => HashedContent.of(content));
          hashes.push(...hashed.map(({ hash }) => hash));
          yield hashed;
          memory.fill(0);
        }
      }
      await harness.store.putAll(batches());
      const reopened = harness.reopen();
      // Each read is verified.
      for (const hash of hashes) expect(await reopened.get(hash)).toBeDefined();
    });

    test("batches that end in an error are rejected with it, and nothing is half there", async () => {
      const contents = Array.from({ length: 20 }, (_, index) => Buffer.alloc(90_000, index));
      const hashed = contents.map((content) => HashedContent.of(content));
      async function* cut(): AsyncIterable<ReadonlyArray<HashedContent>> {
        yield hashed;
        throw new Error("the sender went away");
      }
      await expect(harness.store.putAll(cut())).rejects.toThrow("went away");
      // Of what is half there the read would be rejected.
      await Promise.all(hashed.map(({ hash }) => harness.reopen().get(hash)));
      await harness.store.putAll([hashed]);
      for (const { hash } of hashed) expect(await harness.store.get(hash)).toBeDefined();
    });

    test("of many nothing is stored before it is admitted", async () => {
      const sizes = [1, 2, 200_000, 3];
      const contents = sizes.map((size) => HashedContent.of(Buffer.alloc(size, "admitted")));
      const hashes = contents.map(({ hash }) => hash);
      const refusing = harness.store.putAll([contents], () => Promise.reject(new Error("not yet")));
      await expect(refusing).rejects.toThrow("not yet");
      for (const hash of hashes) expect(await harness.reopen().has(hash)).toBe(false);

      const admitted: BlobHash[] = [];
      await harness.store.putAll([contents.slice(0, 2), contents.slice(2)], async (some) => {
        for (const hash of some) expect(await harness.reopen().has(hash)).toBe(false);
        admitted.push(...some);
      });
      expect(admitted.sort()).toEqual([...hashes].sort());
      for (const hash of hashes) expect(await harness.reopen().has(hash)).toBe(true);
    });

    test("pieces that are cut, or of other content, are refused and not stored", async () => {
      const content = Buffer.alloc(200_000, 7);
      const hash = hashOf(content);
      const short = harness.store.put(hash, pieces(content.subarray(1)));
      await expect(short).rejects.toMatchObject({ code: "blob_mismatch" });
      async function* cut(): AsyncIterable<Uint8Array> {
        yield content.subarray(0, 100);
        throw new Error("the sender went away");
      }
      await expect(harness.store.put(hash, cut())).rejects.toThrow("went away");
      expect(await harness.store.has(hash)).toBe(false);
    });

    test("content that is removed while it is read is read to its end", async () => {
      const content = Buffer.alloc(1_000_000, 7);
      const hash = hashOf(content);
      await harness.store.put(hash, content);
      const opened = await harness.store.open(hash);
      await harness.store.remove(hash);
      const back = Buffer.from(await new Response(opened?.content).arrayBuffer());
      expect(back.equals(content)).toBe(true);
    });

    test("what was never stored is absent", async () => {
      const hash = hashOf(Buffer.from("never"));
      expect(await harness.store.has(hash)).toBe(false);
      expect(await harness.store.get(hash)).toBeUndefined();
      expect(await harness.store.open(hash)).toBeUndefined();
    });

    test("content under a wrong hash is refused and not stored", async () => {
      const hash = hashOf(Buffer.from("right"));
      const wrong = harness.store.put(hash, Buffer.from("wrong"));
      await expect(wrong).rejects.toMatchObject({ code: "blob_mismatch" });
      expect(await harness.store.has(hash)).toBe(false);
    });

    test("content that was removed is absent, and can be stored again", async () => {
      const content = Buffer.from("comes and goes");
      const hash = hashOf(content);
      await harness.store.remove(hash);
      await harness.store.put(hash, content);
      await harness.store.remove(hash);
      expect(await harness.reopen().has(hash)).toBe(false);
      await harness.store.put(hash, content);
      expect(Buffer.from((await harness.reopen().get(hash)) ?? [])).toEqual(content);
    });

    test("the same content is stored by many at once", async () => {
      const content = Buffer.from("shared");
      const hash = hashOf(content);
      await Promise.all(Array.from({ length: 10 }, () => harness.store.put(hash, content)));
      expect(Buffer.from((await harness.store.get(hash)) ?? [])).toEqual(content);
    });

    test("content that was damaged is refused when it is read", async () => {
      const content = Buffer.from("intact");
      const hash = hashOf(content);
      await harness.store.put(hash, content);
      await harness.damage(hash);
      await expect(harness.store.get(hash)).rejects.toMatchObject({ code: "blob_corrupt" });
    });

    test("content that was damaged is whole again once it is stored again", async () => {
      const sizes = [100, LIMITS.blobRewrittenBytesMax + 1];
      const blobs = sizes.map((size) => HashedContent.of(Buffer.alloc(size, "intact")));
      await harness.store.putAll([blobs]);
      const ways = [
        () => harness.store.putAll([blobs]),
        () => Promise.all(blobs.map(({ hash, content }) => harness.store.put(hash, content))),
      ];
      for (const storeAgain of ways) {
        for (const { hash } of blobs) await harness.damage(hash);
        await storeAgain();
        for (const { hash, content } of blobs) {
          expect(Buffer.from((await harness.store.get(hash)) ?? []).equals(content)).toBe(true);
        }
      }
    });
  });
}

async function* pieces(content: Buffer): AsyncIterable<Uint8Array> {
  for (let start = 0; start < content.length; start += 50_000) {
    yield content.subarray(start, start + 50_000);
  }
}

function hashOf(content: Uint8Array): BlobHash {
  return BlobHash.parse(createHash("sha256").update(content).digest("hex"));
}
