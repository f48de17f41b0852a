import { blake3 } from "hash-wasm";
import { expect, test } from "vitest";
import { assetHashOf } from "./asset-hash.ts";

test.each([
  { path: "/index.html", text: "<h1>hi</h1>\n", hash: "17453d0cfb9bacc76d9f30d3cb9ca048" },
  { path: "/empty.html", text: "", hash: "bc88d1b19523ba52d6a2959dd93cf9c8" },
  { path: "/noext", text: "x\n", hash: "c3a161830e0e40801d0cc710e02f91cc" },
  { path: "/sub/t é.txt", text: "grüße\n", hash: "90c501d7e4088711847ff4962a106c51" },
])("asset hash: is what wrangler announces for $path", async ({ path, text, hash }) => {
  expect(await assetHashOf(Buffer.from(text), path)).toBe(hash);
});

test("asset hash: depends on the extension and not on the rest of the path", async () => {
  const content = Buffer.from("x");
  const hash = await assetHashOf(content, "/a.txt");
  expect(await assetHashOf(content, "/sub/b.txt")).toBe(hash);
  expect(await assetHashOf(content, "/a.html")).not.toBe(hash);
});

test.each([-1, 0, 1, 2, 3, 786_432])(
  "asset hash: of %i bytes over a piece is as of one",
  async (over) => {
    const content = Buffer.alloc(786_432 + over, "abcdefg");
    const text = `${content.toString("base64")}bin`;
    expect(await assetHashOf(content, "/large.bin")).toBe((await blake3(text)).slice(0, 32));
  },
);
