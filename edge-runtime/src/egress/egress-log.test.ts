import { once } from "node:events";
import { request } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { EgressPolicy } from "./egress-policy.ts";
import { EgressProxy } from "./egress-proxy.ts";

test("egress proxy: a worker that is denied again and again fills no log", async () => {
  await using resources = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "egress-log-"));
  resources.defer(() => rm(directory, { recursive: true }));
  let logged = 0;
  const log = pino({}, { write: (line) => void (logged += line.length) });
  const proxy = new EgressProxy({ log, policy: new EgressPolicy() });
  resources.defer(() => proxy.close());
  const listener = await proxy.open(join(directory, "egress.sock"), {
    identity: { cell: "test", workers: [] },
    subrequests: { perRequest: 1_000, requests: async () => ({ begun: 1, inFlight: 1 }) },
  });
  const path = `http://${"long-name.".repeat(800)}localhost/`;
  const { socketPath } = listener;
  for (let count = 0; count < 100; count += 1) {
    const [response] = await once(request({ socketPath, path }).end(), "response");
    expect(response.statusCode).toBe(403);
    response.resume();
  }
  expect(listener.usage().denials).toBe(100);
  expect(logged).toBeGreaterThan(0);
  expect(logged).toBeLessThan(2 * LIMITS.cellOutputBytes);
});
