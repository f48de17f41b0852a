import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { LoadGenerator, type LoadPlan, type LoadResult } from "./load-generator.ts";

/** Runs a plan against a server with this listener. */
async function runAgainst(listener: RequestListener, plan: Partial<LoadPlan>): Promise<LoadResult> {
  await using resources = new AsyncDisposableStack();
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  resources.defer(() => server[Symbol.asyncDispose]());
  const generator = resources.use(new LoadGenerator());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const bounds = { connections: 4, requestsMax: 200, durationMs: 10_000 };
  return await generator.run({ url, hosts: ["a.example", "b.example"], ...bounds, ...plan });
}

test("load generator: sends as many requests as asked, over as many connections, to the hosts", async () => {
  const hosts = new Set<string | undefined>();
  const ports = new Set<number | undefined>();
  const result = await runAgainst((incoming, outgoing) => {
    hosts.add(incoming.headers.host);
    ports.add(incoming.socket.remotePort);
    outgoing.end("hello");
  }, {});
  expect(result).toMatchObject({ requests: 200, failures: [] });
  expect(result.latenciesMs).toHaveLength(200);
  expect(hosts).toEqual(new Set(["a.example", "b.example"]));
  expect(ports.size).toBe(4);
});

test("load generator: ends when its time is over", async () => {
  const endless = { requestsMax: Number.MAX_SAFE_INTEGER, durationMs: 200 };
  const result = await runAgainst((_incoming, outgoing) => outgoing.end(), endless);
  expect(result.durationMs).toBeGreaterThanOrEqual(200);
  expect(result.requests).toBe(result.latenciesMs.length);
});

test("load generator: tells answers that failed, that were cold, and that never came", async () => {
  let count = 0;
  const result = await runAgainst(
    (_incoming, outgoing) => {
      count += 1;
      if (count === 1) outgoing.writeHead(500).end();
      else if (count === 2) outgoing.setHeader("x-atoll-cold", "12").end();
      else if (count === 3) outgoing.destroy();
      else outgoing.end();
    },
    { connections: 1, requestsMax: 10 },
  );
  expect(result.requests).toBe(10);
  expect(result.failures).toEqual(["status 500", "cold", expect.stringContaining("closed")]);
});
