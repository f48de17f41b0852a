import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import WebSocket from "ws";
import { decodeMessage, encodeMessage, type Tail, type TailNews } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { PeerCredentials } from "../peers/peer-credentials.ts";
import { FleetTails } from "./fleet-tails.ts";
import type { TailLink } from "./tail-followers.ts";
import { MessageFromFollower, type MessageFromWatchers } from "./link-messages.ts";
import { REMOTE_TAILS_PATH, RemoteWatchers } from "./remote-watchers.ts";

const WORKER = `${"a".repeat(32)}/hello`;
const [OURS, THEIRS] = [randomUUID(), randomUUID()];

let clock: ManualClock;
let fleet: FleetTails;
let watchers: RemoteWatchers;
let server: Server;
let node: TailLink;
/** What the node was sent last. */
let sent: ReadonlyArray<string>;

beforeEach(async () => {
  clock = new ManualClock();
  fleet = new FleetTails();
  const credentials = credentialsOf(OURS);
  watchers = new RemoteWatchers({ fleet, credentials, clock, log: pino({ level: "silent" }) });
  server = createServer();
  server.on("upgrade", (request, socket, head) => watchers.upgrade(request, socket, head));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  sent = [];
  node = fleet.connect({ send: (tails) => (sent = tails.map(({ id }) => id)) });
  node.open();
});
afterEach(async () => {
  watchers.close();
  const closed = once(server, "close");
  server.close();
  await closed;
});

function credentialsOf(id: string): PeerCredentials {
  return new PeerCredentials({ fleetSeed: new Uint8Array(32), id, clock });
}

interface Owner {
  readonly socket: WebSocket;
  readonly news: TailNews[];
  readonly followed: Array<ReadonlyArray<string>>;
}

/** Another control plane, with watchers of some tails. */
async function connect(...tails: Tail[]): Promise<Owner> {
  const { port } = server.address() as AddressInfo;
  const headers = { authorization: `Bearer ${credentialsOf(THEIRS).issue(OURS)}` };
  const socket = new WebSocket(`ws://127.0.0.1:${port}${REMOTE_TAILS_PATH}`, { headers });
  const owner: Owner = { socket, news: [], followed: [] };
  socket.on("message", (data: Buffer) => {
    const message = decodeMessage(MessageFromFollower, data);
    if (message.kind === "news") owner.news.push(message.news);
    if (message.kind === "followed") owner.followed.push(message.ids);
  });
  await once(socket, "open");
  tell(owner, tails);
  return owner;
}

function tell({ socket }: Owner, tails: Tail[]): void {
  const message: MessageFromWatchers = {
    kind: "tails",
    tails: tails.map((tail) => ({ tail, expiresAtMs: 0 })),
  };
  socket.send(encodeMessage(message));
}

function newTail(worker = WORKER): Tail {
  return { id: randomUUID(), worker, filters: [] };
}

test("remote watchers: nodes are told of their tails, and they when all nodes follow", async () => {
  const [tail, other] = [newTail(), newTail()];
  const late = fleet.connect({ send: () => undefined });
  late.open();
  const owner = await connect(tail, other);
  await waitFor(() => expect(sent).toEqual([tail.id, other.id]));
  node.followed([tail.id, other.id]);
  late.followed([tail.id]);
  await waitFor(() => expect(owner.followed).toEqual([[tail.id]]));
  late.close();
  await waitFor(() => expect(owner.followed.at(-1)).toEqual([tail.id, other.id]));
  tell(owner, [other]);
  await waitFor(() => expect(sent).toEqual([other.id]));
});

test("remote watchers: their tails end with their connection, and with a newer one of theirs", async () => {
  const [tail, other] = [newTail(), newTail()];
  const owner = await connect(tail);
  await waitFor(() => expect(sent).toEqual([tail.id]));
  const again = await connect(other);
  await waitFor(() => expect(sent).toEqual([other.id]));
  await waitFor(() => expect(owner.socket.readyState).toBe(WebSocket.CLOSED));
  again.socket.terminate();
  await waitFor(() => expect(sent).toEqual([]));
  expect(fleet.all).toEqual([]);
});

test("remote watchers: they are told of their own tails alone", async () => {
  const [tail, local] = [newTail(), newTail(`${"b".repeat(32)}/other`)];
  const heard: TailNews[] = [];
  const here = { followed: () => undefined, remove: () => undefined };
  const source = fleet.attach({ ...here, news: (news) => heard.push(news) });
  source.tell([{ tail: local, expiresAtMs: 0 }]);
  const owner = await connect(tail);
  await waitFor(() => expect(sent).toEqual([local.id, tail.id]));
  const [both, theirs, ours] = ['"both"', '"theirs"', '"ours"'];
  node.news({
    events: [
      { tails: [tail.id, local.id], json: both },
      { tails: [tail.id], json: theirs },
      { tails: [local.id], json: ours },
    ],
    dropped: [{ worker: local.worker, count: 3 }],
  });
  const theirEvents = [both, theirs].map((json) => ({ json, tails: [tail.id] }));
  await waitFor(() => expect(owner.news).toEqual([{ events: theirEvents, dropped: [] }]));
  const ourEvents = [both, ours].map((json) => ({ json, tails: [local.id] }));
  expect(heard).toEqual([{ events: ourEvents, dropped: [{ worker: local.worker, count: 3 }] }]);
});

test("remote watchers: what their connection does not take is left out, counted, and told", async () => {
  const tail = newTail();
  const owner = await connect(tail);
  await waitFor(() => expect(sent).toEqual([tail.id]));
  owner.socket.pause();
  const json = JSON.stringify("x".repeat(100_000));
  const total = 400;
  for (let count = 0; count < total; count += 1) {
    node.news({ events: [{ tails: [tail.id], json }], dropped: [] });
    await new Promise((resolve) => setImmediate(resolve));
  }
  owner.socket.resume();
  const counts = (): { readonly told: number; readonly dropped: number } => {
    clock.advance(LIMITS.tailLookMs);
    return {
      told: owner.news.reduce((sum, { events }) => sum + events.length, 0),
      dropped: owner.news
        .flatMap(({ dropped }) => dropped)
        .reduce((sum, { count }) => sum + count, 0),
    };
  };
  await waitFor(() => expect(counts().told + counts().dropped).toBe(total));
  expect(counts().told).toBeGreaterThan(0);
  expect(counts().dropped).toBeGreaterThan(0);
});

test.each([
  ["no MessagePack", new Uint8Array([0xc1])],
  ["no message", encodeMessage({ kind: "tails" })],
  [
    "a filter that nobody knows",
    encodeMessage({
      kind: "tails",
      tails: [{ tail: { ...newTail(), filters: [{ colour: "red" }] }, expiresAtMs: 0 }],
    }),
  ],
])("remote watchers: %s ends their connection, and their tails", async (_what, bytes) => {
  const owner = await connect(newTail());
  await waitFor(() => expect(sent.length).toBe(1));
  owner.socket.send(bytes);
  await waitFor(() => expect(sent).toEqual([]));
  await waitFor(() => expect(owner.socket.readyState).toBe(WebSocket.CLOSED));
});
