import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../../limits.ts";
import { ManualClock } from "../../test-support/manual-clock.ts";
import { waitFor } from "../../test-support/wait-for.ts";
import type { Answer } from "./answer.ts";
import type { Exchange } from "./http-connection.ts";
import { HttpServer } from "./http-server.ts";

let directory: string;
let socketPath: string;
let clock: ManualClock;
let server: HttpServer;
const sockets: Socket[] = [];
/** What a test does with a request. */
let serve: (exchange: Exchange) => Promise<void> | undefined;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-http-"));
  socketPath = join(directory, "http.sock");
  clock = new ManualClock();
  serve = async ({ head, body, answer }) => {
    const text = await body.text(1_000).catch(({ message }: Error) => message);
    await answer(answerOf(`${head.method} ${head.target} ${text}`));
  };
  const refusal = ({ message }: Error) => ({ ...answerOf(message), status: 400, reason: "Bad" });
  server = new HttpServer({ handler: { serve: (exchange) => serve(exchange), refusal }, clock });
  await server.listen(socketPath);
});
afterEach(async () => {
  await server.close();
  for (const socket of sockets.splice(0)) socket.destroy();
  await rm(directory, { recursive: true });
  expect(clock.timerCount).toBe(0);
});

function answerOf(text: string): Answer & { readonly body: Buffer } {
  return { status: 200, reason: "OK", fields: [["x-of", 1]], body: Buffer.from(text) };
}

/** A connection that keeps all it is told. */
function open(): {
  readonly socket: Socket;
  readonly heard: () => string;
  closed: Promise<unknown>;
} {
  const socket = connect(socketPath);
  sockets.push(socket);
  let text = "";
  socket.on("data", (bytes: Buffer) => (text += bytes.toString("latin1")));
  socket.on("error", () => undefined);
  return { socket, heard: () => text, closed: once(socket, "close") };
}

/** As `serve` answers by default. */
function told(text: string, fields = ""): string {
  return `HTTP/1.1 200 OK\r\nx-of: 1\r\n${fields}content-length: ${text.length}\r\n\r\n${text}`;
}

test("HttpConnection: requests that come together are answered one after another, in their order", async () => {
  const { socket, heard, closed } = open();
  const chunks = "4\r\nbody\r\n1\r\n!\r\n0\r\n\r\n";
  socket.write(
    `GET /1 HTTP/1.1\r\n\r\nPUT /2 HTTP/1.1\r\ncontent-length: 2\r\n\r\nxy` +
      `PUT /3 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${chunks}` +
      `GET /4 HTTP/1.1\r\nconnection: close\r\n\r\nGET /5 HTTP/1.1\r\n\r\n`,
  );
  await closed;
  const last = told("GET /4 ", "connection: close\r\n");
  expect(heard()).toBe(told("GET /1 ") + told("PUT /2 xy") + told("PUT /3 body!") + last);
});

test("HttpConnection: a thousand requests that come together and are answered at once are answered", async () => {
  const count = 1_000;
  serve = ({ head, answer }) => answer(answerOf(head.target));
  const { socket, heard } = open();
  socket.write("GET /1 HTTP/1.1\r\n\r\n".repeat(count));
  await waitFor(() => expect(heard()).toBe(told("/1").repeat(count)));
});

test("HttpConnection: a request that comes byte by byte is the same", async () => {
  const { socket, heard, closed } = open();
  const text =
    "PUT /k HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nab\r\n0\r\n\r\n";
  for (const byte of text) {
    socket.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  expect(heard()).toBe(told("PUT /k ab", "connection: close\r\n"));
});

test("HttpConnection: a body that nobody reads is over before the answer and the next request", async () => {
  serve = ({ head, answer }) => answer(answerOf(head.target));
  const { socket, heard } = open();
  socket.write("PUT /1 HTTP/1.1\r\ncontent-length: 4\r\n\r\nGE");
  await waitFor(() => expect(socket.bytesWritten).toBeGreaterThan(0));
  expect(heard()).toBe("");
  socket.write("T!GET /2 HTTP/1.1\r\n\r\n");
  await waitFor(() => expect(heard()).toBe(told("/1") + told("/2")));
});

test("HttpConnection: nothing behind a body of broken framing is a request", async () => {
  const served: string[] = [];
  serve = async ({ head, body, answer }) => {
    served.push(head.target);
    await body.text(1_000).catch(() => undefined);
    await answer(answerOf(""));
  };
  const { socket, closed } = open();
  socket.write("PUT /1 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
  await waitFor(() => expect(served).toEqual(["/1"]));
  socket.write("DELETE /2 HTTP/1.1\r\n\r\n");
  await closed;
  expect(served).toEqual(["/1"]);
});

test("HttpConnection: HEAD is answered without a body", async () => {
  const { socket, heard } = open();
  socket.write("HEAD /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
  const head = "HTTP/1.1 200 OK\r\nx-of: 1\r\ncontent-length: 8\r\n\r\n";
  await waitFor(() => expect(heard()).toBe(head + told("GET /2 ")));
});

test.each([
  ["no request", "nonsense\r\n\r\n", /head of the request is malformed/],
  ["a broken body", "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", /^$/],
  [
    "a head without an end",
    "x".repeat(LIMITS.frontHeadBytesMax + 1),
    /head of the request is longer/,
  ],
  [
    "a head that is too long",
    `GET / HTTP/1.1\r\nx: ${"x".repeat(LIMITS.frontHeadBytesMax)}\r\n\r\n`,
    /head of the request is longer/,
  ],
])("HttpConnection: %s ends the connection", async (_what, text, answer) => {
  const { socket, heard, closed } = open();
  socket.write(text);
  await closed;
  expect(heard()).toMatch(answer);
});

test("HttpConnection: large bodies pass in both directions, as fast as they are read", async () => {
  const sizeBytes = 4 * 1024 * 1024;
  serve = async ({ body, answer }) => {
    const pieces: Buffer[] = [];
    for await (const piece of body) {
      pieces.push(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const content = Buffer.concat(pieces);
    await answer({ ...answerOf(""), body: content });
    expect(content).toHaveLength(sizeBytes);
  };
  const { socket, heard } = open();
  socket.write(`PUT / HTTP/1.1\r\ncontent-length: ${sizeBytes}\r\n\r\n`);
  socket.write(Buffer.alloc(sizeBytes, "x"));
  await waitFor(() => expect(heard()).toHaveLength(told("").length + 6 + sizeBytes));
});

const CHANGED = { code: "value_unavailable" };

test.each([
  ["ends early", ["short"]],
  ["is longer", ["exactly", " it is"]],
  ["fails", undefined],
])(
  "HttpConnection: a streamed answer that %s is cut, and its source is ended",
  async (_what, pieces) => {
    const failure = new Error("the disk is broken");
    const stream = new Readable({
      read() {
        if (pieces === undefined) this.destroy(failure);
      },
    });
    for (const piece of pieces ?? []) stream.push(piece);
    if (pieces !== undefined) stream.push(null);
    let rejection: unknown;
    serve = async ({ answer }) => {
      try {
        await answer({ ...answerOf(""), body: { stream, sizeBytes: 7 } });
      } catch (error) {
        rejection = error;
      }
    };
    const { socket, heard, closed } = open();
    socket.write("GET / HTTP/1.1\r\n\r\n");
    await closed;
    expect(heard().length).toBeLessThanOrEqual(told("").length + 7);
    expect(stream.destroyed).toBe(true);
    expect(rejection).toMatchObject(pieces === undefined ? failure : CHANGED);
  },
);

test("HttpConnection: a streamed answer that nobody wants any more ends its source", async () => {
  const stream = new Readable({ read: () => undefined });
  const asked = Promise.withResolvers<void>();
  const gone = Promise.withResolvers<void>();
  serve = async ({ answer }) => {
    asked.resolve();
    await gone.promise;
    await answer({ ...answerOf(""), body: { stream, sizeBytes: 7 } });
  };
  const { socket } = open();
  socket.write("PUT / HTTP/1.1\r\ncontent-length: 7\r\n\r\n");
  await asked.promise;
  socket.destroy();
  gone.resolve();
  await waitFor(() => expect(stream.destroyed).toBe(true));
});

test("HttpConnection: a reader of a body hears that its sender has gone", async () => {
  const asked = Promise.withResolvers<void>();
  const failed = Promise.withResolvers<unknown>();
  serve = async ({ body, answer }) => {
    asked.resolve();
    await body.text(1_000).catch(failed.resolve);
    await answer(answerOf("nobody hears this"));
  };
  const { socket } = open();
  socket.write("PUT / HTTP/1.1\r\ncontent-length: 7\r\n\r\nabc");
  await asked.promise;
  socket.destroy();
  expect(await failed.promise).toMatchObject({ code: "closed" });
});

test.each([
  ["a head", "GET / HTTP/1.1\r\n"],
  ["a body", "PUT / HTTP/1.1\r\ncontent-length: 7\r\n\r\nabc"],
])(
  "HttpConnection: a sender of %s that stops in the middle is cut, an idle one is not",
  async (_what, text) => {
    const idle = open();
    idle.socket.write("GET /1 HTTP/1.1\r\n\r\n");
    await waitFor(() => expect(idle.heard()).toBe(told("GET /1 ")));
    const stuck = open();
    stuck.socket.write(text);
    await once(stuck.socket, "connect");
    // Until it has arrived: the time is counted from there.
    await waitFor(() => {
      clock.advance(LIMITS.frontRequestMs + LIMITS.frontWatchMs);
      expect(stuck.socket.closed).toBe(true);
    });
    idle.socket.write("GET /2 HTTP/1.1\r\n\r\n");
    await waitFor(() => expect(idle.heard()).toBe(told("GET /1 ") + told("GET /2 ")));
  },
);
