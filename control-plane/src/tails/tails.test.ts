import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import WebSocket from "ws";
import { AccountId, type Tail } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import type { TailLink } from "./tail-followers.ts";
import { OpenTails, TAILS_PATH } from "./open-tails.ts";
import { requireRoom } from "./tail-room.ts";

const ACCOUNT = AccountId.parse("a".repeat(32));
const WORKER = `${ACCOUNT}/hello`;
const TAIL = { tokenId: "token", filters: [] };

let clock: ManualClock;
let tails: OpenTails;
let server: Server;
let node: TailLink;
/** What the node was sent last. */
let sent: { tails: ReadonlyArray<Tail> };

beforeEach(async () => {
  clock = new ManualClock();
  tails = new OpenTails({ clock, log: pino({ level: "silent" }) });
  server = createServer();
  server.on("upgrade", (request, socket, head) => tails.upgrade(request, socket, head));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const own = { tails: [] as ReadonlyArray<Tail> };
  sent = own;
  node = tails.connect({ send: (all) => (own.tails = all.map(({ tail }) => tail)) });
  node.open();
});

afterEach(async () => {
  tails.close();
  const closed = once(server, "close");
  server.close();
  await closed;
});

function open(): { readonly id: string; readonly secret: string } {
  const opened = tails.open({ ...TAIL, worker: WORKER });
  return { id: opened.open.tail.id, secret: opened.secret };
}

interface Watcher {
  readonly socket: WebSocket;
  readonly messages: Array<{ readonly event: { readonly type: string; readonly message: string } }>;
  next(): Promise<Watcher["messages"][number]>;
}

async function watch(secret: string): Promise<Watcher> {
  const { port } = server.address() as AddressInfo;
  const socket = new WebSocket(`ws://127.0.0.1:${port}${TAILS_PATH}${secret}`, "trace-v1");
  const messages: Watcher["messages"] = [];
  let wake = (): void => undefined;
  socket.on("message", (data: Buffer) => {
    messages.push(JSON.parse(data.toString()) as Watcher["messages"][number]);
    wake();
  });
  await once(socket, "open");
  const next = async (): Promise<Watcher["messages"][number]> => {
    for (;;) {
      const message = messages.shift();
      if (message !== undefined) return message;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  return { socket, messages, next };
}

/** A connection on which a test writes each byte itself. */
async function handshake(path: string, lines: ReadonlyArray<string>): Promise<Socket> {
  const { port } = server.address() as AddressInfo;
  const socket = connect(port, "127.0.0.1");
  socket.write([`GET ${path} HTTP/1.1`, "host: x", ...lines, "\r\n"].join("\r\n"));
  return socket;
}

const HANDSHAKE = [
  "upgrade: websocket",
  "connection: upgrade",
  "sec-websocket-version: 13",
  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
];

async function answerOf(socket: Socket): Promise<string> {
  const [bytes] = (await once(socket, "data")) as [Buffer];
  return bytes.toString("latin1");
}

test("tails: news of a node reach who watches, and nobody else", async () => {
  const [ours, other] = [open(), open()];
  const [watcher, bystander] = [await watch(ours.secret), await watch(other.secret)];
  expect(watcher.socket.protocol).toBe("trace-v1");
  expect(sent.tails.map(({ id }) => id)).toEqual([ours.id, other.id]);
  node.news({
    events: [
      { tails: [ours.id, randomUUID()], json: '{"n":1}' },
      { tails: [other.id], json: '{"n":2}' },
    ],
    dropped: [],
  });
  expect(await watcher.next()).toEqual({ n: 1 });
  expect(await bystander.next()).toEqual({ n: 2 });
  expect([watcher.messages, bystander.messages]).toEqual([[], []]);
});

test("tails: frames that are not masked are accepted, and pings answered", async () => {
  const { secret } = open();
  const socket = await handshake(`${TAILS_PATH}${secret}`, [
    ...HANDSHAKE,
    "sec-websocket-protocol: trace-v1",
  ]);
  const answer = await answerOf(socket);
  expect(answer).toContain("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  expect(answer).toContain("sec-websocket-protocol: trace-v1");
  const debug = Buffer.from('{"debug":false}');
  socket.write(
    Buffer.concat([Buffer.from([0x81, debug.length]), debug, Buffer.from([0x89, 1, 7])]),
  );
  expect(await answerOf(socket)).toBe("\x8a\x01\x07");
  socket.destroy();
});

test("tails: a watcher that vanishes leaves nothing behind", async () => {
  const { secret } = open();
  const { socket } = await watch(secret);
  expect(sent.tails).toHaveLength(1);
  socket.terminate();
  await expect.poll(() => sent.tails).toEqual([]);
  expect(tails.listOf(WORKER)).toEqual([]);
});

test("tails: a watcher without a sign of life is gone", async () => {
  const { secret } = open();
  const { socket } = await watch(secret);
  // It reads nothing any more, so it answers no ping.
  socket.pause();
  clock.advance(LIMITS.tailPingMs);
  clock.advance(LIMITS.tailPingMs);
  await expect.poll(() => sent.tails).toEqual([]);
  socket.terminate();
});

test("tails: one that nobody comes for ends by itself", async () => {
  open();
  clock.advance(LIMITS.tailConnectMs);
  expect(sent.tails).toHaveLength(1);
  clock.advance(LIMITS.tailLookMs);
  expect(sent.tails).toEqual([]);
});

test("tails: one that is deleted ends for its watcher, who must not come back", async () => {
  const { id, secret } = open();
  const { socket } = await watch(secret);
  const closed = once(socket, "close");
  tails.remove(randomUUID());
  expect(sent.tails).toHaveLength(1);
  tails.remove(id);
  expect(((await closed) as [number])[0]).toBe(1000);
  expect(sent.tails).toEqual([]);
});

test("tails: a slow watcher loses events, is told so, and how many in the end", async () => {
  const { id, secret } = open();
  const watcher = await watch(secret);
  watcher.socket.pause();
  const json = JSON.stringify({ text: "x".repeat(100_000) });
  for (let count = 0; count < 200; count += 1) {
    node.news({ events: [{ tails: [id], json }], dropped: [] });
    await new Promise((resolve) => setImmediate(resolve));
  }
  watcher.socket.resume();
  // What is answered now comes after everything that was sent before.
  watcher.socket.ping();
  await once(watcher.socket, "pong");
  const received = watcher.messages.splice(0).filter(({ event }) => event === undefined).length;
  expect(received).toBeGreaterThan(0);
  expect(received).toBeLessThan(200);
  clock.advance(LIMITS.tailLookMs);
  clock.advance(LIMITS.tailCalmMs);
  const notices = [await watcher.next(), await watcher.next()].map(({ event }) => event);
  expect(notices.map(({ type }) => type)).toEqual(["overload", "overload-stop"]);
  for (const { message } of notices) expect(message).toContain(`${200 - received} `);
});

test("tails: what a node drops is told at once, again while it goes on, and in all", async () => {
  const { secret } = open();
  const watcher = await watch(secret);
  const drop = (count: number): void =>
    node.news({ events: [], dropped: [{ worker: WORKER, count }] });
  drop(3);
  const { event } = await watcher.next();
  expect(event.type).toBe("overload");
  for (let second = 0; second < 10; second += 1) {
    clock.advance(1_000);
    drop(1);
  }
  expect((await watcher.next()).event.message).toContain("So far 12 were left out");
  clock.advance(LIMITS.tailCalmMs);
  const stop = await watcher.next();
  expect(stop.event.type).toBe("overload-stop");
  expect(stop.event.message).toContain("13 events were left out");
  expect(watcher.messages).toEqual([]);
});

test.each([
  ["an unknown secret", `${TAILS_PATH}nobody-has-it`, HANDSHAKE, "404"],
  ["no handshake", undefined, HANDSHAKE.slice(0, 2), "400"],
])("tails: %s is turned away", async (_what, path, lines, status) => {
  const { secret } = open();
  const socket = await handshake(path ?? `${TAILS_PATH}${secret}`, lines);
  expect(await answerOf(socket)).toContain(`HTTP/1.1 ${status}`);
});

test("tails: a secret lets one watcher in at a time", async () => {
  const { secret } = open();
  await watch(secret);
  const socket = await handshake(`${TAILS_PATH}${secret}`, HANDSHAKE);
  expect(await answerOf(socket)).toContain("HTTP/1.1 409");
});

test("tails: bytes that are no frames end the connection, with a reason", async () => {
  const { secret } = open();
  const socket = await handshake(`${TAILS_PATH}${secret}`, HANDSHAKE);
  await answerOf(socket);
  socket.write(Buffer.from([0xff, 0xff, 0xff]));
  const answer = Buffer.from(await answerOf(socket), "latin1");
  expect(answer[0]).toBe(0x88);
  expect(answer.readUInt16BE(2)).toBe(1002);
  await expect.poll(() => sent.tails).toEqual([]);
});

test("tails: whoever opens one waits for the nodes that are there, and no longer", async () => {
  const late = tails.connect({ send: () => undefined });
  late.open();
  const { id } = open();
  const waited = tails.whenFollowed(id, 60_000);
  let isOver = false;
  void waited.then(() => (isOver = true));
  node.followed([id]);
  await Promise.resolve();
  expect(isOver).toBe(false);
  late.close();
  await waited;
});

test("tails: a node that comes later is told of those that there are", () => {
  const { id } = open();
  let told: ReadonlyArray<string> = [];
  tails.connect({ send: (all) => (told = all.map(({ tail }) => tail.id)) }).open();
  expect(told).toEqual([id]);
});

test("tails: a worker has as many as allowed", () => {
  for (let count = 0; count < LIMITS.tailsPerWorkerMax; count += 1) {
    requireRoom(tails.listOf(WORKER), WORKER);
    open();
  }
  const refused = expect.objectContaining({ code: "tails_exceeded" });
  expect(() => requireRoom(tails.listOf(WORKER), WORKER)).toThrow(refused);
  expect(() => requireRoom(tails.listOf(WORKER), `${ACCOUNT}/other`)).not.toThrow();
});
