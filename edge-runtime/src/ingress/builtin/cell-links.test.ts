import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../../limits.ts";
import { CellLinks } from "./cell-links.ts";

let folder: string;
let silent: Server;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cell-links-"));
  silent = createServer(() => undefined).listen(join(folder, "cell.sock"));
  await once(silent, "listening");
});

afterEach(async () => {
  silent.closeAllConnections();
  silent.close();
  await rm(folder, { recursive: true, force: true });
});

test("cell links: a cell has as many WebSockets as it may, and places come free", async () => {
  const link = new CellLinks(1_000).link(join(folder, "cell.sock"));
  for (let count = 0; count < LIMITS.cellWebSocketsMax - 1; count += 1) await link.beginWebSocket();
  // Two at once for the last place: one gets it.
  const last = await Promise.all([link.beginWebSocket(), link.beginWebSocket()]);
  expect(last).toEqual([true, false]);
  link.endWebSocket();
  expect(await link.beginWebSocket()).toBe(true);
});

test("cell links: the proxy in front leaves room for a WebSocket before it is admitted", async () => {
  const told: number[] = [];
  let proxied = 1;
  const links = new CellLinks(1_000, {
    webSocketsMax: 3,
    proxiedWebSockets: async (_, others) => {
      told.push(others);
      return proxied;
    },
  });
  const link = links.link(join(folder, "cell.sock"));
  expect([await link.beginWebSocket(), await link.beginWebSocket()]).toEqual([true, true]);
  expect(await link.beginWebSocket()).toBe(false);
  proxied = 0;
  expect(await link.beginWebSocket()).toBe(true);
  expect(told).toEqual([1, 2, 3, 2, 3]);
  await links.close();
});

test("cell links: an answer that stalls is given up", async () => {
  const links = new CellLinks(1_000, { answerIdleMs: 200 });
  const failed = Promise.withResolvers<Error>();
  links.link(join(folder, "cell.sock")).dispatch(
    { path: "/", method: "GET", headers: [] },
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
