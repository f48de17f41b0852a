import { expect, test } from "vitest";
import { describeUrls } from "./urls.ts";

const STATUS = {
  revision: 1,
  workers: [
    {
      name: "shop",
      version: "v",
      createdAt: "2026-11-01T00:00:00Z",
      routes: ["shop.localhost/*", "example.test/shop/*", "*.example.test/*"],
    },
  ],
  nodes: [
    {
      ...{ name: "fra", region: "fra", url: "http://127.0.0.1:4402", revision: 1 },
      ...{ connected: true, failures: [], cells: [], kv: [], cellFaults: [], cellEnds: {} },
    },
  ],
};

test("urls of a worker: each fixed host on each node's port, wildcards as they are", () => {
  expect(describeUrls(STATUS, "shop")).toEqual([
    "  fra   http://shop.localhost:4402/",
    "  fra   http://example.test:4402/shop/",
    "  *.example.test/*",
  ]);
  expect(describeUrls(STATUS, "other")).toEqual([]);
});
