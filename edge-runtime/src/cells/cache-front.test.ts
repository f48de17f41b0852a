import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
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
