import { once } from "node:events";
import { connect } from "node:net";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import WebSocket from "ws";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { FollowingNode } from "../test-support/following-node.ts";
import { TurnedClock } from "../test-support/turned-clock.ts";
import { REMOTE_TAILS_PATH } from "./remote-watchers.ts";

const TAILS = "A/workers/scripts/hello/tails";

const clock = new TurnedClock();
let server: PostgresServer;
let first: ControlPlaneApi;
let second: ControlPlaneApi;
let here: FollowingNode;
let there: FollowingNode;
beforeAll(async () => {
  server = await PostgresServer.start();
  const databaseUrl = server.url(await server.createDatabase());
  first = await ControlPlaneApi.start({ databaseUrl, servedWaitMs: 0, clock });
  second = await first.startAnother({ servedWaitMs: 0 });
  await first.deploy("hello");
  here = await FollowingNode.enrol(first, "here");
  there = await FollowingNode.enrol(first, "there");
  await here.connect(first);
  await there.connect(second);
  await waitFor(() => expect(peersAtNextLook()).toEqual([1, 1]));
}, 60_000);
afterEach(async () => {
  const { result } = await first.call(`GET ${TAILS}`);
  for (const { id } of result as ReadonlyArray<Opened>) await first.call(`DELETE ${TAILS}/${id}`);
  await waitFor(() => expect(watchedIds()).toEqual([[], []]));
});
afterAll(async () => {
  for (const node of [here, there]) node.leave();
  await second.controlPlane.close();
  await first.close();
  await server.remove();
});

/** Before anybody watches, who would be asked for a sign of life as well. */
function peersAtNextLook(): ReadonlyArray<number> {
  clock.turn();
  return peerCounts();
}

function peerCounts(): ReadonlyArray<number> {
  return [first, second].map(({ controlPlane }) => controlPlane.peers?.others.length ?? 0);
}

interface Opened {
  readonly id: string;
  readonly url: string;
}

async function open(api: ControlPlaneApi, filters: ReadonlyArray<unknown> = []): Promise<Opened> {
  const { status, result } = await api.call(`POST ${TAILS}`, { filters });
  expect(status).toBe(200);
  return result;
}

interface Watcher {
  readonly socket: WebSocket;
  readonly texts: string[];
  closeCode: number | undefined;
}

/** Watches over the connection of a control plane, which need not be the one that opened the tail. */
async function watch(api: ControlPlaneApi, { url }: Opened): Promise<Watcher> {
  const { host } = new URL(api.controlPlane.url);
  const socket = new WebSocket(url.replace(/(?<=^ws:\/\/)[^/]+/, host), "trace-v1");
  const watcher: Watcher = { socket, texts: [], closeCode: undefined };
  socket.on("message", (data: Buffer) => watcher.texts.push(data.toString()));
  socket.on("close", (code) => (watcher.closeCode = code));
  await once(socket, "open");
  expect(socket.protocol).toBe("trace-v1");
  return watcher;
}

function watchedIds(): ReadonlyArray<ReadonlyArray<string>> {
  return [here, there].map(({ tails }) => tails.map(({ id }) => id));
}

test("tails of several control planes: events of all nodes reach a watcher at either, once each", async () => {
  const filters = [{ query: "needle" }];
  const tail = await open(first, filters);
  // The call is answered when all nodes follow, whoever has them.
  expect(watchedIds()).toEqual([[tail.id], [tail.id]]);
  expect(there.tails[0]).toMatchObject({ filters });
  const other = await open(second);
  // As behind a balancer: the connection comes to the one that did not get the call.
  const [watcher, otherWatcher] = [await watch(second, tail), await watch(second, other)];
  here.tellEvent('"here"');
  there.tellEvent('"there"');
  for (const { texts } of [watcher, otherWatcher]) {
    await waitFor(() => expect(texts.toSorted()).toEqual(['"here"', '"there"']));
  }
  watcher.socket.close();
  await waitFor(() => expect(watchedIds()).toEqual([[other.id], [other.id]]));
  otherWatcher.socket.terminate();
  await waitFor(() => expect(watchedIds()).toEqual([[], []]));
  expect([watcher.texts.length, otherWatcher.texts.length]).toEqual([2, 2]);
});

test("tails of several control planes: either lists all, and ends them", async () => {
  const tails = [await open(first), await open(second)];
  const watchers = [await watch(first, tails[0]!), await watch(second, tails[1]!)];
  for (const api of [first, second]) {
    const { result } = await api.call(`GET ${TAILS}`);
    const ids = (result as ReadonlyArray<Opened>).map(({ id }) => id).toSorted();
    expect(ids).toEqual(tails.map(({ id }) => id).toSorted());
  }
  for (const { id } of tails) {
    const foreign = await first.call(`DELETE ${TAILS}/${id}`, undefined, "theirs");
    expect(foreign.status).toBe(404);
  }
  // Each is ended at the other one.
  await second.call(`DELETE ${TAILS}/${tails[0]?.id}`);
  await first.call(`DELETE ${TAILS}/${tails[1]?.id}`);
  await waitFor(() => expect(watchers.map(({ closeCode }) => closeCode)).toEqual([1000, 1000]));
  await waitFor(() => expect(watchedIds()).toEqual([[], []]));
});

test("tails of several control planes: those of a worker are counted together", async () => {
  for (let count = 0; count < LIMITS.tailsPerWorkerMax; count += 1) {
    await open(count % 2 === 0 ? first : second);
  }
  for (const api of [first, second]) {
    const refused = await api.call(`POST ${TAILS}`, { filters: [] });
    expect([refused.status, refused.errors[0]?.code]).toEqual([409, 10_058]);
  }
});

test("tails of several control planes: a node that moves is told anew, and tells on", async () => {
  const tail = await open(first);
  const watcher = await watch(first, tail);
  for (const api of [first, second, first, second]) {
    await there.connect(api);
    await waitFor(() => expect(watchedIds()).toEqual([[tail.id], [tail.id]]));
    watcher.texts.length = 0;
    there.tellEvent("1");
    await waitFor(() => expect(watcher.texts).toEqual(["1"]));
  }
});

test("tails of several control planes: one that comes later takes part, one that ends takes its tails along", async () => {
  const tail = await open(first);
  const third = await first.startAnother({ servedWaitMs: 0 });
  await waitFor(() => expect(peersAtNextLook()).toEqual([2, 2]));
  await there.connect(third);
  await waitFor(() => expect(watchedIds()).toEqual([[tail.id], [tail.id]]));
  const watcher = await watch(third, await open(third));
  await waitFor(() => expect(here.tails.length).toBe(2));
  await third.controlPlane.close();
  await waitFor(() => expect(watcher.closeCode).toBeDefined());
  // Any code but 1000: wrangler opens another one.
  expect(watcher.closeCode).not.toBe(1000);
  await there.connect(second);
  await waitFor(() => expect(watchedIds()).toEqual([[tail.id], [tail.id]]));
  await waitFor(() => expect(peerCounts()).toEqual([1, 1]));
});

test("tails of several control planes: what a node leaves out is told to watchers of that worker everywhere", async () => {
  const watcher = await watch(first, await open(first));
  const dropped = [{ worker: `${first.principal().account}/hello` as const, count: 7 }];
  there.send({ kind: "tail-news", news: { events: [], dropped } });
  await waitFor(() => expect(watcher.texts[0]).toContain("So far 7 were left out"));
});

test("tails of several control planes: nobody waits for one that gave a wrong address, nor is led in circles", async () => {
  // It is where nobody of this fleet is, and the next one says that it is where the first is.
  const lost = await first.startAnother({ servedWaitMs: 0, peerUrl: "http://127.0.0.1:1" });
  const { url: peerUrl } = first.controlPlane;
  const confused = await first.startAnother({ servedWaitMs: 0, peerUrl });
  await waitFor(() => expect(peersAtNextLook()).toEqual([3, 3]));
  const startMs = performance.now();
  const tails = [await open(first), await open(lost), await open(confused)];
  expect(performance.now() - startMs).toBeLessThan(LIMITS.tailFollowMs);
  expect(watchedIds()).toEqual([tails, tails].map((all) => all.map(({ id }) => id)));
  await expect(watch(second, tails[1]!)).rejects.toThrow("502");
  await expect(watch(second, tails[2]!)).rejects.toThrow("508");
  for (const { controlPlane } of [lost, confused]) await controlPlane.close();
  await waitFor(() => expect(peerCounts()).toEqual([1, 1]));
});

test.each([
  ["no credential", REMOTE_TAILS_PATH, undefined, "401"],
  ["what is none", REMOTE_TAILS_PATH, "x", "401"],
  ["an API token", REMOTE_TAILS_PATH, "token", "401"],
  ["a tail of nobody's", `/tails/${"0".repeat(8)}-0000-4000-8000-${"0".repeat(12)}.x`, "x", "404"],
])("links of control planes: %s is turned away", async (_what, path, credential, status) => {
  const { port } = new URL(first.controlPlane.url);
  const socket = connect(Number(port), "127.0.0.1");
  const shown = credential === "token" ? first.tenants.ours.token : credential;
  const authorization = shown === undefined ? [] : [`authorization: Bearer ${shown}`];
  const lines = ["host: x", "upgrade: websocket", "connection: upgrade", ...authorization];
  socket.write([`GET ${path} HTTP/1.1`, ...lines, "\r\n"].join("\r\n"));
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toContain(`HTTP/1.1 ${status}`);
  socket.destroy();
});
