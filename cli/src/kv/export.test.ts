import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { UsageError } from "../settings.ts";
import { KvApi } from "./api.ts";
import { exportNamespace } from "./export.ts";

const NAMESPACE = { id: "0123456789abcdef0123456789abcdef", title: "words" };
const HEAD = `{"atoll":"kv-dump","version":1,"namespace":"${NAMESPACE.id}","revision":1,"at":"2026-11-20T12:00:00.000Z"}`;

let directory: string;
let server: Server;
let entries: number;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-export-"));
  server = createServer((request, response) => {
    const isExport = request.url?.endsWith("/export") === true;
    if (isExport) return void Readable.from(dump()).pipe(response);
    response.end(JSON.stringify({ result: [NAMESPACE], errors: [] }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(async () => {
  server.close();
  server.closeAllConnections();
  await rm(directory, { recursive: true });
});

function* dump(): Generator<string> {
  yield `${HEAD}\n`;
  for (let index = 0; index < entries; index += 1) {
    yield `{"key":"k${index}","value":"${"v".repeat(20_000)}"}\n`;
  }
  yield `{"end":true,"entries":${entries}}\n`;
}

async function exportTo(file: string): Promise<number> {
  const { port } = server.address() as AddressInfo;
  const api = new KvApi({
    CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${port}/client/v4`,
    CLOUDFLARE_API_TOKEN: "token",
    CLOUDFLARE_ACCOUNT_ID: "account",
  });
  return exportNamespace(api, { namespace: "words", file: join(directory, file), at: undefined });
}

test("export: however often it waits for the disk, nothing of that stays", async () => {
  entries = 500;
  const warnings: Error[] = [];
  const onWarning = (warning: Error): unknown => warnings.push(warning);
  process.on("warning", onWarning);
  try {
    expect(await exportTo("dump")).toBe(entries);
  } finally {
    process.off("warning", onWarning);
  }
  expect(warnings).toEqual([]);
  expect(await readFile(join(directory, "dump"), "utf8")).toBe([...dump()].join(""));
  expect(await readdir(directory)).toEqual(["dump"]);
});

test.each([0, 500])("export: a file of %i entries that can't be made is named", async (count) => {
  entries = count;
  const exporting = exportTo("gone/dump");
  await expect(exporting).rejects.toThrow(UsageError);
  await expect(exporting).rejects.toThrow(/ENOENT: .*dump\.part/);
});
