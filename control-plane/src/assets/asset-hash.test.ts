import { expect, test } from "vitest";
import { AssetHasher } from "./asset-hash.ts";

const hasher = await AssetHasher.open();
const hashOf = (content: string, path: string) =>
  hasher.hashOf(Buffer.from(Buffer.from(content).toString("base64")), path);

test.each([
  { path: "/index.html", text: "<h1>hi</h1>\n", hash: "17453d0cfb9bacc76d9f30d3cb9ca048" },
  { path: "/empty.html", text: "", hash: "bc88d1b19523ba52d6a2959dd93cf9c8" },
  { path: "/noext", text: "x\n", hash: "c3a161830e0e40801d0cc710e02f91cc" },
  { path: "/sub/t é.txt", text: "grüße\n", hash: "90c501d7e4088711847ff4962a106c51" },
])("asset hash: is what wrangler announces for $path", ({ path, text, hash }) => {
  expect(hashOf(text, path)).toBe(hash);
});

test("asset hash: depends on the extension and not on the rest of the path", () => {
  const hash = hashOf("x", "/a.txt");
  expect(hashOf("x", "/sub/b.txt")).toBe(hash);
  expect(hashOf("x", "/a.html")).not.toBe(hash);
});
