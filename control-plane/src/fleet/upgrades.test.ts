import { connect, type Socket } from "node:net";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
let seenCount: number;
let closedCount: number;
const uncaught: unknown[] = [];
const onUncaught = (error: unknown): void => void uncaught.push(error);
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  uncaught.length = 0;
  process.on("uncaughtException", onUncaught);
  [seenCount, closedCount] = [0, 0];
  api.controlPlane.http.server.on("upgrade", (_request, socket) => {
    seenCount += 1;
    socket.on("close", () => (closedCount += 1));
  });
});
afterEach(async () => {
  process.off("uncaughtException", onUncaught);
  await api.close();
});

/** Resolves when the request has come. */
async function askForUpgrade(path: string, credential?: string): Promise<Socket> {
  const { hostname, port } = new URL(api.controlPlane.url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  socket.on("error", () => undefined);
  const head = [
    `GET ${path} HTTP/1.1`,
    "host: atoll.test",
    "connection: upgrade",
    "upgrade: websocket",
    ...(credential === undefined ? [] : [`authorization: Bearer ${credential}`]),
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  const before = seenCount;
  await waitFor(() => expect(seenCount).toBe(before + 1));
  return socket;
}

test("upgrades: whoever resets the connection ends nothing else", async () => {
  const paths = ["/", "/fleet/connect", "/tails/none"];
  for (const path of paths) (await askForUpgrade(path)).resetAndDestroy();
  await waitFor(() => expect(closedCount).toBe(paths.length));
  expect(uncaught).toEqual([]);
  expect(await api.call("GET A/workers/scripts")).toMatchObject({ status: 200 });
});

test("upgrades: nor does who resets it before the database has told who it is", async () => {
  const { promise: isOver, resolve: end } = Promise.withResolvers<void>();
  const holding = api.controlPlane.database.transaction().execute(() => isOver);
  const credential = `atoll-node_${"a".repeat(16)}_${"b".repeat(43)}`;
  (await askForUpgrade("/fleet/connect", credential)).resetAndDestroy();
  await waitFor(() => expect(closedCount).toBe(1));
  end();
  await holding;
  expect(uncaught).toEqual([]);
  expect(await api.call("GET A/workers/scripts")).toMatchObject({ status: 200 });
});

test("upgrades: one that is refused keeps no connection, though its sender never ends it", async () => {
  const paths = ["/", "/fleet/connect", "/tails/none"];
  const sockets: Socket[] = [];
  for (const path of paths) sockets.push((await askForUpgrade(path)).resume());
  await waitFor(() => expect(closedCount).toBe(paths.length));
  for (const socket of sockets) socket.destroy();
});
