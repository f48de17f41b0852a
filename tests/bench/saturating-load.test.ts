import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { saturate, type SaturatingResult } from "./saturating-load.ts";

async function saturateServer(answer: RequestListener): Promise<SaturatingResult> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  try {
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const headers = ["x-told: yes"];
    return await saturate({ url, host: "shop.test", headers, connections: 4, durationMs: 1_000 });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test("saturating load: counts what was answered, and what the generator used", async () => {
  let answered = 0;
  const result = await saturateServer((request, response) => {
    answered += 1;
    const isAsPlanned = request.headers.host === "shop.test" && request.headers["x-told"] === "yes";
    response.writeHead(isAsPlanned ? 200 : 400).end("ok");
  });
  expect(result.failed).toBe(0);
  expect(result.requests).toBeGreaterThan(0);
  // Those that were under way at its end are not counted.
  expect(answered - result.requests).toBeLessThanOrEqual(4);
  expect(result.durationMs).toBeGreaterThanOrEqual(1_000);
  expect(result.p99Ms).toBeGreaterThan(0);
  expect(result.cpuMs).toBeLessThanOrEqual(2 * result.durationMs);
});

test("saturating load: counts answers that tell of a failure", async () => {
  const result = await saturateServer((_, response) => void response.writeHead(503).end());
  expect(result.failed).toBe(result.requests);
});
