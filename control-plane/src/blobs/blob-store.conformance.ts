import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlobHash } from "../contract/index.ts";
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

    test("what was never stored is absent", async () => {
      const hash = hashOf(Buffer.from("never"));
      expect(await harness.store.has(hash)).toBe(false);
      expect(await harness.store.get(hash)).toBeUndefined();
    });

    test("content under a wrong hash is refused and not stored", async () => {
      const hash = hashOf(Buffer.from("right"));
      const wrong = harness.store.put(hash, Buffer.from("wrong"));
      await expect(wrong).rejects.toMatchObject({ code: "blob_mismatch" });
      expect(await harness.store.has(hash)).toBe(false);
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
  });
}

function hashOf(content: Uint8Array): BlobHash {
  return BlobHash.parse(createHash("sha256").update(content).digest("hex"));
}
