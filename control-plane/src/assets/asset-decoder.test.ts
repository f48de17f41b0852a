import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { blobHashOf } from "../blobs/blob-hash.ts";
import { LIMITS } from "../limits.ts";
import { createAssetDecoder, hashAsset, type AssetDecoder } from "./asset-decoder.ts";

let decoder: AssetDecoder;
beforeEach(() => {
  decoder = createAssetDecoder();
});
afterEach(() => decoder.close());

const hashOf = (content: string, path: string) =>
  hashAsset(decoder, { content: Buffer.from(content), path });

/** Memory with these texts one behind the other, and where each is. */
function encoded(texts: ReadonlyArray<string>) {
  const memory = new SharedArrayBuffer(texts.join("").length);
  Buffer.from(memory).write(texts.join(""), "latin1");
  let endByte = 0;
  const assets = texts.map((text) => {
    const startByte = endByte;
    endByte += text.length;
    return { startByte, endByte, path: "/a.bin" };
  });
  return { memory, assets };
}

describe("asset decoder: ", () => {
  test.each([
    { path: "/index.html", text: "<h1>hi</h1>\n", hash: "17453d0cfb9bacc76d9f30d3cb9ca048" },
    { path: "/empty.html", text: "", hash: "bc88d1b19523ba52d6a2959dd93cf9c8" },
    { path: "/noext", text: "x\n", hash: "c3a161830e0e40801d0cc710e02f91cc" },
    { path: "/sub/t é.txt", text: "grüße\n", hash: "90c501d7e4088711847ff4962a106c51" },
  ])("its hash is what wrangler announces for $path", async ({ path, text, hash }) => {
    expect(await hashOf(text, path)).toBe(hash);
  });

  test("the hash depends on the extension and not on the rest of the path", async () => {
    const hash = await hashOf("x", "/a.txt");
    expect(await hashOf("x", "/sub/b.txt")).toBe(hash);
    expect(await hashOf("x", "/a.html")).not.toBe(hash);
  });

  test("contents take the places of their texts, each with its own size and hash", async () => {
    const contents = ["", "a", "of more than one line\n".repeat(10_000), "b"];
    const job = encoded(contents.map((content) => Buffer.from(content).toString("base64")));
    const decoded = await decoder.run(job);
    for (const [index, content] of contents.entries()) {
      const { startByte = 0 } = job.assets[index] ?? {};
      expect(decoded[index]).toMatchObject({
        sizeBytes: content.length,
        blob: blobHashOf(Buffer.from(content)),
      });
      const there = Buffer.from(job.memory).subarray(startByte, startByte + content.length);
      expect(there.toString()).toBe(content);
    }
  });

  test("what is no base64 is decoded as far as it goes, and is never longer than its text", async () => {
    const texts = ["=", "a", "!!!!", "YQ==YQ==", "é".repeat(9)];
    const job = encoded(texts);
    const decoded = await decoder.run(job);
    expect(decoded.map(({ sizeBytes }) => sizeBytes)).toEqual(
      texts.map((text) => Buffer.from(text, "base64").length),
    );
  });

  test("the largest asset is decoded", async () => {
    const text = Buffer.alloc(LIMITS.assetBytesMax, 7).toString("base64");
    const [decoded] = await decoder.run(encoded([text]));
    expect(decoded?.sizeBytes).toBe(LIMITS.assetBytesMax);
  });

  test("a job that can't be done is rejected, and the next one is done", async () => {
    const job = encoded(["YQ=="]);
    // No schema lets such a path in.
    const path = 7 as unknown as string;
    const wrong = { ...job, assets: [{ startByte: 0, endByte: 4, path }] };
    await expect(decoder.run(wrong)).rejects.toThrow(/path.*must be of type string/);
    expect(await decoder.run(job)).toMatchObject([{ sizeBytes: 1 }]);
  });
});
