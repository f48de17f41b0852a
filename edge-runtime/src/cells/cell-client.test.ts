import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { askCell } from "./cell-client.ts";

test("cell client: an answer that does not end is given up", async () => {
  await using resources = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "cell-client-"));
  resources.defer(() => rm(directory, { recursive: true }));
  const socketPath = join(directory, "health.sock");
  let written = 0;
  const server = createServer((_, response) => {
    const more = (): void => {
      written += 65_536;
      if (!response.destroyed) response.write(Buffer.alloc(65_536), () => setImmediate(more));
    };
    more();
  }).listen(socketPath);
  resources.defer(() => void server.close());
  await once(server, "listening");
  await expect(askCell({ socketPath, timeoutMs: 10_000 })).rejects.toThrow(/answered more than/);
  expect(written).toBeLessThan(4 * LIMITS.cellAnswerBytesMax);
});
