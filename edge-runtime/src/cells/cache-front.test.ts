import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { CacheFront } from "./cache-front.ts";
import { askCell } from "./cell-client.ts";

let directory: string;
let front: CacheFront;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-cache-"));
  // An earlier agent may have left its socket's file.
  await writeFile(join(directory, "cache.sock"), "left");
  front = await CacheFront.listen(join(directory, "cache.sock"));
});

afterEach(async () => {
  await Promise.all([front.close(), front.close()]);
  await rm(directory, { recursive: true, force: true });
});

test.each([
  { method: "GET", status: 504 },
  { method: "PUT", status: 204, body: "x".repeat(1_000_000) },
  { method: "PURGE", status: 404 },
  { method: "POST", status: 405 },
])("cache front: $method is answered with $status", async ({ method, status, body }) => {
  const { socketPath } = front;
  const request = { socketPath, method, timeoutMs: 5_000, ...(body !== undefined && { body }) };
  expect((await askCell(request)).status).toBe(status);
});

test("cache front: calls that never end take no place from others", async () => {
  const { socketPath } = front;
  const sockets: Socket[] = [];
  for (let count = 0; count < LIMITS.cacheConnectionsMax + 20; count += 1) {
    const socket = connect(socketPath).on("error", () => undefined);
    await once(socket, "connect");
    socket.write("PUT /x HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n");
    sockets.push(socket);
  }
  await waitFor(() => expect(sockets.filter(({ closed }) => closed).length).toBe(20));
  expect((await askCell({ socketPath, method: "GET", timeoutMs: 5_000 })).status).toBe(504);
  for (const socket of sockets) socket.destroy();
});
