import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Region, type WorkerKey } from "@atoll/control-plane/contract";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../../limits.ts";
import { BuiltinIngress } from "./builtin-ingress.ts";
import { CellLinks } from "./cell-links.ts";

const WORKER: WorkerKey = `${"0".repeat(32)}/test`;

let folder: string;
let cell: Server;
let ingress: BuiltinIngress;
/** Bytes of bodies that the cell has read to their end. */
let read: number[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "request-limits-"));
  read = [];
  cell = createServer((incoming, outgoing) => {
    if (incoming.url === "/silent") return;
    let bytes = 0;
    incoming.on("data", (piece: Buffer) => (bytes += piece.length));
    // A body that is cut off has no end.
    incoming.on("error", () => undefined);
    incoming.on("end", () => {
      read.push(bytes);
      outgoing.end("read");
    });
  });
  cell.listen(join(folder, "cell.sock"));
  await once(cell, "listening");
  ingress = await BuiltinIngress.open({
    port: 0,
    region: Region.parse("fra"),
    activator: {
      activate: async () => ({ socketPath: join(folder, "cell.sock") }),
      lossOf: async () => undefined,
    },
    log: pino({ level: "silent" }),
  });
  ingress.setRoutes([{ pattern: "test.localhost/*", worker: WORKER }]);
});

afterEach(async () => {
  await ingress.close();
  cell.closeAllConnections();
  cell.close();
  await rm(folder, { recursive: true, force: true });
});

/** Sends a body of so many bytes; resolves with the status. */
async function send(bytes: number, headers: Readonly<Record<string, string>>): Promise<number> {
  const { port } = new URL(ingress.url);
  const outgoing = request({
    port,
    method: "POST",
    agent: false,
    headers: { host: "test.localhost", ...headers },
  });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const answer = { isHere: false };
  outgoing.on("response", (incoming) => {
    answer.isHere = true;
    incoming.resume();
    resolve(incoming.statusCode ?? 0);
  });
  // Refused bodies are cut off while they are sent.
  outgoing.on("error", (error) => answer.isHere || reject(error));
  const piece = Buffer.alloc(1024 * 1024);
  for (let sent = 0; sent < bytes && !answer.isHere; sent += piece.length) {
    const isFull = !outgoing.write(piece.subarray(0, Math.min(piece.length, bytes - sent)));
    if (isFull) await Promise.race([once(outgoing, "drain").catch(() => undefined), promise]);
  }
  outgoing.end();
  return promise;
}

test.each([
  { bytes: LIMITS.requestBodyBytesMax - 1, status: 200 },
  { bytes: LIMITS.requestBodyBytesMax, status: 200 },
  { bytes: LIMITS.requestBodyBytesMax + 1, status: 413 },
])(
  "request limits: a body of $bytes bytes is answered with $status",
  async ({ bytes, status }) => {
    expect(await send(bytes, { "transfer-encoding": "chunked" })).toBe(status);
    expect(read).toEqual(status === 200 ? [bytes] : []);
  },
  60_000,
);

test("request limits: a length past the limit is refused before the body comes", async () => {
  const length = String(LIMITS.requestBodyBytesMax + 1);
  expect(await send(0, { "content-length": length })).toBe(413);
});

test("request limits: a cell has as many WebSockets as it may, and places come free", () => {
  const link = new CellLinks(1_000).link(join(folder, "cell.sock"));
  for (let count = 0; count < LIMITS.cellWebSocketsMax - 1; count += 1) link.beginWebSocket();
  expect(link.beginWebSocket()).toBe(true);
  expect(link.beginWebSocket()).toBe(false);
  link.endWebSocket();
  expect(link.beginWebSocket()).toBe(true);
});

test("request limits: an answer that stalls is given up", async () => {
  const links = new CellLinks(1_000, 200);
  const failed = Promise.withResolvers<Error>();
  links.link(join(folder, "cell.sock")).dispatch(
    { path: "/silent", method: "GET", headers: [] },
    {
      onRequestStart: () => undefined,
      onResponseStart: () => undefined,
      onResponseData: () => undefined,
      onResponseEnd: () => undefined,
      onResponseError: (_controller, error) => failed.resolve(error),
    },
  );
  expect(await failed.promise).toMatchObject({ code: "UND_ERR_HEADERS_TIMEOUT" });
  await links.close();
});
