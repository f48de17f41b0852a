import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { sendRaw, talkRaw } from "../support/raw-client.ts";
import { readStatus } from "../support/refusal.ts";
import { serveEverywhere } from "../support/serving.ts";
import { upload } from "../support/upload.ts";

const HOST = "host: counter.localhost";
const KIB = 1024;
// What the node's own limit allows: see `requestHeadMs` in its limits.
const HEAD_MS = 10_000;
const IDLE_CONNECTIONS = 10_000;

let atoll: TestAtoll;
let port: number;
beforeAll(async () => {
  atoll = await startAtoll();
  port = atoll.regions.fra.port;
  // Counts what reaches it, and reads bodies to their end before it does.
  const source = `const paths = [];
    export default { async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/paths") return Response.json(paths);
      await request.text();
      paths.push(pathname);
      return new Response("served");
    } };`;
  expect((await upload(atoll, { name: "counter", source })).status).toBe(200);
  await serveEverywhere(atoll, "counter", ({ body }) => body === "served");
});
afterAll(() => atoll.stop());

/** The paths of requests that the worker has handled in this region. */
async function reached(): Promise<ReadonlyArray<string>> {
  const { body } = await atoll.get("fra", "counter.localhost", "/paths");
  return JSON.parse(body) as string[];
}

async function expectServed(): Promise<void> {
  const startedAt = performance.now();
  const answer = await atoll.get("fra", "counter.localhost", "/");
  expect(answer).toMatchObject({ status: 200, body: "served" });
  expect(performance.now() - startedAt).toBeLessThan(2_000);
}

const SMUGGLED = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n\r\n`;

test.each([
  ["no HTTP", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n"],
  ["no path", `GET HTTP/1.1\r\n${HOST}\r\n\r\n`],
  ["an unknown version", `GET / HTTP/9.9\r\n${HOST}\r\n\r\n`],
  ["a header without a colon", `GET / HTTP/1.1\r\n${HOST}\r\nnonsense\r\n\r\n`],
  ["NUL in a header", `GET / HTTP/1.1\r\n${HOST}\r\nx-nul: a\0b\r\n\r\n`],
  ["no host", "GET /hostless HTTP/1.1\r\n\r\n"],
  ["an empty host", "GET /hostless HTTP/1.1\r\nhost:\r\n\r\n"],
  ["two hosts", `GET / HTTP/1.1\r\n${HOST}\r\nhost: starter.localhost\r\n\r\n`],
  ["a host with a path", "GET / HTTP/1.1\r\nhost: counter.localhost/x\r\n\r\n"],
  ["a host with a user", "GET / HTTP/1.1\r\nhost: a@counter.localhost\r\n\r\n"],
  ["a host with markup", "GET / HTTP/1.1\r\nhost: <script>alert(1)</script>\r\n\r\n"],
  ["a host of 300 characters", `GET / HTTP/1.1\r\nhost: ${"a".repeat(300)}\r\n\r\n`],
  ["a host with a port of no machine", "GET / HTTP/1.1\r\nhost: a.localhost:99999999\r\n\r\n"],
  ["a target of another host", `GET http://starter.localhost/ HTTP/1.1\r\n${HOST}\r\n\r\n`],
  ["CONNECT", `CONNECT counter.localhost:80 HTTP/1.1\r\n${HOST}\r\n\r\n`],
  ["two lengths", `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: 0\r\ncontent-length: 44\r\n\r\n`],
  ["a length with a sign", `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: +0\r\n\r\n`],
  [
    "an unknown encoding",
    `POST / HTTP/1.1\r\n${HOST}\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n`,
  ],
  ["a blank before a colon", `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length : 4\r\n\r\nabcd`],
])("a request is refused and nothing after it is served: %s", async (_, bytes) => {
  const before = await reached();
  const { text } = await sendRaw(port, bytes + SMUGGLED);
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
  expect(text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
  expect(text.toLowerCase()).toContain("connection: close");
  expect(text).not.toContain("<script>");
  expect(await reached()).toEqual(before);
});

// HTTP gives each of these one reading, which HAProxy takes; the built-in ingress refuses them.
test.each([
  ["a folded header", `GET / HTTP/1.1\r\n${HOST}\r\nconnection: close\r\nx-a: b\r\n c\r\n\r\n`],
  ["the host twice", `GET / HTTP/1.1\r\n${HOST}\r\n${HOST}\r\nconnection: close\r\n\r\n`],
  [
    "both length headers",
    `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  [
    "both length headers, the other way round",
    `POST / HTTP/1.1\r\n${HOST}\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n`,
  ],
])(
  "a request is read in one way or refused, and nothing after it is served: %s",
  async (_, bytes) => {
    const { text } = await sendRaw(port, bytes + SMUGGLED);
    expect(text).toMatch(/^HTTP\/1\.1 (200|400) /);
    expect(text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
    expect(text.toLowerCase()).toContain("connection: close");
    expect(await reached()).not.toContain("/smuggled");
  },
);

test.each([
  ["a size that is no number", "zz\r\nabc\r\n0\r\n\r\n"],
  ["a size past 64 bits", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"],
  ["more data than its size", "3\r\nabcdef\r\n0\r\n\r\n"],
  ["no line end after data", `3\r\nabc${SMUGGLED}`],
  ["a line feed in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"],
])("a chunked body never completes with %s", async (_, chunks) => {
  const before = await reached();
  const head = `POST /chunked HTTP/1.1\r\n${HOST}\r\ntransfer-encoding: chunked\r\n\r\n`;
  const { text } = await sendRaw(port, head + chunks + SMUGGLED);
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
  expect(text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
  expect(await reached()).toEqual(before);
});

test.each([
  ["a URL of 20 KiB", `GET /${"u".repeat(20 * KIB)} HTTP/1.1\r\n${HOST}\r\n\r\n`, 414],
  [
    "a header of 200 KiB",
    `GET / HTTP/1.1\r\n${HOST}\r\nx: ${"v".repeat(200 * KIB)}\r\n\r\n`,
    "4(00|31)",
  ],
  ["520 headers", `GET / HTTP/1.1\r\n${HOST}\r\n${"x-a: 12345678\r\n".repeat(520)}\r\n`, 431],
])("an oversized head is refused: %s", async (_, bytes, status) => {
  const before = await reached();
  const { text } = await sendRaw(port, bytes);
  expect(text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  expect(await reached()).toEqual(before);
});

test("what a client says of itself in the ingress's own headers reaches no worker", async () => {
  const source = "export default { fetch: (r) => Response.json(Object.fromEntries(r.headers)) };";
  await upload(atoll, { name: "headers", source });
  await serveEverywhere(atoll, "headers", ({ status }) => status === 200);
  const forged = {
    "cf-connecting-ip": "203.0.113.9",
    "cf-ray": "forged",
    "cf-worker": "forged",
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-proto": "https",
    "x-real-ip": "203.0.113.9",
    "x-atoll-capability": "forged",
  };
  const answer = await atoll.get("fra", "headers.localhost", "/", { headers: forged });
  const seen = JSON.parse(answer.body) as Record<string, string>;
  expect(seen["cf-connecting-ip"]).toBe("127.0.0.1");
  expect(seen["x-forwarded-proto"]).toBe("http");
  expect(Object.values(seen)).not.toContain("forged");
  expect(Object.values(seen).join(" ")).not.toContain("203.0.113.9");
});

test("senders that are too slow for a head are let go, while others are served", async () => {
  const half = `GET / HTTP/1.1\r\n${HOST}\r\nx-half: `;
  const slow = [
    sendRaw(port, half),
    talkRaw(port, () => undefined),
    talkRaw(port, (socket) => {
      socket.write(half);
      const drip = setInterval(() => socket.write("v"), 100);
      socket.on("close", () => clearInterval(drip));
    }),
    ...Array.from({ length: 200 }, () => sendRaw(port, half)),
  ];
  await expectServed();
  for (const { text, ms } of await Promise.all(slow)) {
    expect(text === "" || text.startsWith("HTTP/1.1 408 ")).toBe(true);
    expect(ms).toBeGreaterThan(HEAD_MS * 0.9);
  }
  await expectServed();
});

test("a worker does not wait for a client that announced more than it sends", async () => {
  const before = await reached();
  const head = `POST /unfinished HTTP/1.1\r\n${HOST}\r\ncontent-length: 1000000\r\n\r\n`;
  await talkRaw(port, (socket) => socket.write(`${head}abc`, () => socket.resetAndDestroy()));
  await expectServed();
  expect(await reached()).not.toContain("/unfinished");
  expect((await reached()).length).toBe(before.length + 1);
});

test(`${IDLE_CONNECTIONS} idle connections keep nobody from being served`, async () => {
  const sockets: Socket[] = [];
  let established = 0;
  let closed = 0;
  try {
    while (sockets.length < IDLE_CONNECTIONS) {
      for (let index = 0; index < 250; index += 1) {
        const socket = connect(port, "127.0.0.1");
        socket.on("error", () => undefined);
        socket.on("close", () => (closed += 1));
        // Kept after its first request, with a long time to wait for the next.
        socket.write(`GET /idle HTTP/1.1\r\n${HOST}\r\n\r\n`);
        socket.once("data", () => (established += 1));
        sockets.push(socket);
      }
      await eventually(() => established === sockets.length, {
        what: `${sockets.length} connections are open, not ${established}`,
      });
    }
    for (let count = 0; count < 20; count += 1) await expectServed();
    expect(closed).toBe(0);
    const { nodes } = await readStatus(atoll);
    expect(nodes.filter(({ connected }) => connected)).toHaveLength(3);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  await expectServed();
});

test("after all of this the nodes are the processes that they were", async () => {
  const { nodes } = await readStatus(atoll);
  expect(nodes.map(({ failures }) => failures)).toEqual([[], [], []]);
  const paths = await reached();
  expect(paths).not.toContain("/smuggled");
  expect(paths).not.toContain("/hostless");
});
