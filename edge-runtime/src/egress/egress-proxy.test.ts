import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createHttpServer, type Server } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { EgressPolicy } from "./egress-policy.ts";
import { type EgressListener, EgressProxy } from "./egress-proxy.ts";
import { EgressCell } from "./egress-cell.fixture.ts";

function certificate(name: string): string {
  return readFileSync(fileURLToPath(new URL(`test-certificates/${name}`, import.meta.url)), "utf8");
}

/** What names resolve to in these tests; every other name does not exist. */
const NAMES: Readonly<Record<string, ReadonlyArray<string>>> = {
  "api.test": ["127.0.0.1"],
  "secure.test": ["127.0.0.1"],
  "wrong-name.test": ["127.0.0.1"],
  "inside.test": ["10.1.2.3"],
  "mixed.test": ["93.184.216.34", "10.1.2.3"],
  "mapped.test": ["::ffff:127.0.0.1"],
  "nothing.test": [],
};

describe("egress proxy, from inside a real cell", () => {
  const resolutions: string[] = [];
  let api: Server;
  let secure: Server;
  let tcpPort: number;
  let closed: Promise<void>;
  let proxy: EgressProxy;
  let listener: EgressListener;
  let cell: EgressCell;
  const apiPort = (): number => (api.address() as AddressInfo).port;
  const securePort = (): number => (secure.address() as AddressInfo).port;

  beforeAll(async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    closed = promise;
    api = createHttpServer((request, response) => {
      switch (request.url) {
        case "/redirect":
          response.writeHead(302, { location: "http://inside.test/secret" });
          response.end();
          break;
        case "/gzip":
          response.writeHead(200, { "content-encoding": "gzip", "content-type": "text/plain" });
          response.end(gzipSync("unpacked by the worker"));
          break;
        case "/endless":
          response.on("close", resolve);
          response.write("begun");
          break;
        case "/silent":
          break;
        case "/words-in-utf8":
        case "/words-in-latin1":
          request.socket.end(
            "HTTP/1.1 200 Größer – 東京\r\ncontent-length: 2\r\n\r\nok",
            request.url.endsWith("utf8") ? "utf8" : "latin1",
          );
          break;
        case "/echo":
          request.pipe(response);
          break;
        default:
          response.setHeader("set-cookie", ["a=1", "b=2"]);
          response.end(JSON.stringify([request.url, ...request.rawHeaders]));
      }
    });
    new WebSocketServer({ server: api }).on("connection", (socket) => {
      socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    });
    secure = createHttpsServer(
      { cert: certificate("server.pem"), key: certificate("server-key.pem") },
      (_, response) => response.end("over TLS"),
    );
    const tcp = createTcpServer((socket) => socket.pipe(socket));
    for (const server of [api, secure, tcp]) {
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
    }
    tcpPort = (tcp.address() as AddressInfo).port;
    proxy = new EgressProxy({
      log: pino({ level: "silent" }),
      authorities: [certificate("authority.pem")],
      answerMs: 500,
      requestsMax: 20,
      policy: new EgressPolicy({
        allow: ["api.test", "secure.test", "wrong-name.test", `127.0.0.1:${tcpPort}`],
        resolve: async (host) => {
          resolutions.push(host);
          return (NAMES[host] ?? []).map((address) => ({
            address,
            family: address.includes(":") ? 6 : 4,
          }));
        },
      }),
    });
    cell = await EgressCell.start((socketPath) =>
      proxy
        .open(socketPath, {
          identity: { cell: "test", workers: [] },
          subrequests: { perRequest: 1_000, requests: async () => ({ begun: 1, inFlight: 1 }) },
        })
        .then((opened) => {
          listener = opened;
        }),
    );
    return async () => {
      for (const server of [api, secure]) server.closeAllConnections();
      for (const server of [api, secure, tcp]) server.close();
    };
  });
  afterAll(async () => {
    await cell.stop();
    await proxy.close();
    await proxy.close();
  });
  beforeEach(() => {
    resolutions.length = 0;
  });

  test("an allowed name is reached, with nothing added but what a request needs", async () => {
    const answer = await cell.fetch(`http://api.test:${apiPort()}/path?q=%7e`);
    expect(answer).toMatchObject({ status: 200, cookies: ["a=1", "b=2"] });
    expect(JSON.parse(answer.text)).toEqual([
      "/path?q=%7e",
      "host",
      `api.test:${apiPort()}`,
      "connection",
      "keep-alive",
    ]);
  });

  test("bodies pass both ways, large, with and without a length", async () => {
    const echo = `http://api.test:${apiPort()}/echo`;
    expect((await cell.fetch(echo, { post: 5_000_000 })).text).toBe("5000000 bytes");
    expect((await cell.fetch(echo, { post: 5_000_000, isStream: true })).text).toBe(
      "5000000 bytes",
    );
  });

  test("TLS is checked against the name: the right one passes, any other does not", async () => {
    const right = await cell.fetch(`https://secure.test:${securePort()}/`);
    expect(right).toMatchObject({ status: 200, text: "over TLS" });
    const wrong = await cell.fetch(`https://wrong-name.test:${securePort()}/`);
    expect(wrong.status).toBe(502);
    expect(wrong.text).toMatch(/egress_unreachable: .*(altnames|certificate)/i);
  });

  test("a redirect is the worker's to follow, and judged again", async () => {
    const url = `http://api.test:${apiPort()}/redirect`;
    expect((await cell.fetch(url, { redirect: "manual" })).status).toBe(302);
    const followed = await cell.fetch(url);
    expect(followed.status).toBe(403);
    expect(followed.text).toContain("'inside.test'");
  });

  test("compressed bodies stay compressed on the way", async () => {
    const answer = await cell.fetch(`http://api.test:${apiPort()}/gzip`);
    expect(answer.text).toBe("unpacked by the worker");
  });

  test.each(["utf8", "latin1"])("words for a status in %s end nothing", async (encoding) => {
    const answer = await cell.fetch(`http://api.test:${apiPort()}/words-in-${encoding}`);
    expect(answer).toMatchObject({ status: 200, text: "ok" });
  });

  test("a worker that stops reading ends the request outside", async () => {
    await cell.fetch(`http://api.test:${apiPort()}/endless`, { readsFirstPieceOnly: true });
    await closed;
    expect(listener.usage().requests).toBeGreaterThan(0);
  });

  test("WebSockets pass", async () => {
    const answer = await cell.fetch(`http://api.test:${apiPort()}/socket`, { says: "hello" });
    expect(answer.text).toBe("101 hello");
  });

  test("connect() reaches an allowed host and port", async () => {
    expect(await cell.connect({ host: "127.0.0.1", port: tcpPort, says: "ping" })).toBe("ping");
  });

  test.each([
    ["http://inside.test/", "'inside.test'", "private"],
    ["https://inside.test/", "'inside.test'", "private"],
    ["http://mixed.test/", "'mixed.test'", "private"],
    ["http://mapped.test/", "'mapped.test'", "loopback"],
    ["http://127.0.0.1/", "'127.0.0.1'", "loopback"],
    ["http://2130706433/", "'127.0.0.1'", "loopback"],
    ["http://0x7f.1/", "'127.0.0.1'", "loopback"],
    ["http://0177.0.0.1/", "'127.0.0.1'", "loopback"],
    ["http://[::1]/", "'::1'", "loopback"],
    ["http://[::ffff:10.0.0.1]/", "'::ffff:a00:1'", "private"],
    ["http://169.254.169.254/latest/meta-data/", "'169.254.169.254'", "link-local"],
    ["http://guestbook.localhost:4401/", "'guestbook.localhost'", "loopback"],
    ["http://localhost./", "'localhost'", "loopback"],
    ["http://api.test:25/", "'api.test'", "port 25"],
  ])("%s is refused: the host, its class and the rule are named", async (url, host, reason) => {
    const before = listener.usage().denials;
    const answer = await cell.fetch(url);
    expect(answer.status).toBe(403);
    expect(answer.text).toMatch(/^egress_denied: a worker may not reach /);
    expect(answer.text).toContain(host);
    expect(answer.text).toContain(reason);
    expect(listener.usage().denials).toBe(before + 1);
  });

  test("a port that is not allowed by name is judged like any other", async () => {
    const answer = await cell.fetch(`http://127.0.0.1:${apiPort()}/`);
    expect(answer.text).toContain("loopback");
  });

  test("connect() and WebSockets are refused alike", async () => {
    expect(await cell.connect({ host: "inside.test", port: 6379, says: "x" })).toMatch(/Error/);
    expect(await cell.connect({ host: "127.0.0.1", port: apiPort(), says: "x" })).toMatch(/Error/);
    const socket = await cell.fetch("http://inside.test/", { says: "x" });
    expect(socket.text).toMatch(/^403 egress_denied/);
  });

  test("each connection resolves once: what was judged is what is connected to", async () => {
    await cell.fetch("http://mixed.test/");
    expect(resolutions).toEqual(["mixed.test"]);
  });

  test("a name without addresses says so", async () => {
    for (const host of ["nothing.test", "unknown.test"]) {
      const answer = await cell.fetch(`http://${host}/`);
      expect(answer).toMatchObject({ status: 502 });
      expect(answer.text).toContain(`'${host}' could not be resolved`);
    }
  });

  test("a server that refuses connections says so", async () => {
    const answer = await cell.fetch("http://api.test:1/");
    expect(answer).toMatchObject({ status: 502 });
    expect(answer.text).toMatch(/could not be reached: .*ECONNREFUSED/);
  });

  test("a server that never answers says so", async () => {
    const answer = await cell.fetch(`http://api.test:${apiPort()}/silent`);
    expect(answer).toMatchObject({ status: 504 });
    expect(answer.text).toContain("egress_timeout: the destination did not answer in time");
  });

  test("more requests at a time than the bound are refused, and later ones pass", async () => {
    const url = `http://api.test:${apiPort()}/silent`;
    const answers = await Promise.all(Array.from({ length: 25 }, () => cell.fetch(url)));
    const busy = answers.filter(({ text }) => text.startsWith("egress_busy: more than 20 "));
    expect(busy.map(({ status }) => status)).toEqual(Array.from({ length: 5 }, () => 503));
    expect((await cell.fetch(`http://api.test:${apiPort()}/gzip`)).status).toBe(200);
  });

  test("connections that send nothing are bounded as well", async () => {
    const connections = Array.from({ length: 120 }, () => connect(listener.socketPath));
    await waitFor(() => {
      const open = connections.filter(({ closed }) => !closed);
      expect(open.length).toBeLessThanOrEqual(4 * 20);
    });
    for (const connection of connections) connection.destroy();
    await waitFor(async () =>
      expect((await cell.fetch(`http://api.test:${apiPort()}/gzip`)).status).toBe(200),
    );
  });

  test("subrequests that no request of the cell allows are refused, whatever their kind", async () => {
    const limited = await EgressCell.start((socketPath) =>
      proxy
        .open(socketPath, {
          identity: { cell: "limited", workers: [] },
          subrequests: { perRequest: 3, requests: async () => ({ begun: 1, inFlight: 1 }) },
        })
        .then(() => undefined),
    );
    const url = `http://api.test:${apiPort()}/`;
    const tcp = { host: "127.0.0.1", port: tcpPort, says: "x" };
    expect(await limited.fetch(url)).toMatchObject({ status: 200 });
    expect(await limited.fetch(url, { says: "x" })).toMatchObject({ text: "101 x" });
    expect(await limited.connect(tcp)).toBe("x");
    expect(await limited.fetch(url)).toEqual({
      status: 429,
      text: "subrequests_exceeded: Too many subrequests: the limit is 3 for each request\n",
      cookies: [],
    });
    expect((await limited.fetch(url, { says: "x" })).text).toMatch(/^429 subrequests_exceeded/);
    expect(await limited.connect(tcp)).toMatch(/Error/);
    await limited.stop();
  });

  test("requests and bytes are counted", async () => {
    const before = listener.usage();
    await cell.fetch(`http://api.test:${apiPort()}/echo`, { post: 1_000_000 });
    const after = listener.usage();
    expect(after.requests - before.requests).toBe(1);
    expect(after.bytesSent - before.bytesSent).toBeGreaterThan(1_000_000);
    expect(after.bytesReceived - before.bytesReceived).toBeGreaterThan(1_000_000);
    expect(after.bytesSent - before.bytesSent).toBeLessThan(1_010_000);
  });
});
