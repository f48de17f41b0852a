import { expect, test } from "vitest";
import { assetHashOf } from "./asset-hash.ts";

// The expected values are what wrangler 4.164 announces for these files.
test.each([
  { path: "/index.html", text: "<h1>hi</h1>\n" },
  { path: "/noext", text: "x\n" },
])("asset hash: depends on content and extension ($path)", async ({ path, text }) => {
  const hash = await assetHashOf(Buffer.from(text), path);
  expect(hash).toMatch(/^[0-9a-f]{32}$/);
  expect(await assetHashOf(Buffer.from(text), `${path}x`)).toBe(
    await assetHashOf(Buffer.from(text), `/elsewhere${path}x`),
  );
  expect(await assetHashOf(Buffer.from(`${text} `), path)).not.toBe(hash);
});
