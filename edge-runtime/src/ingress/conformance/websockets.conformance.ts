import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { ServedRequest } from "../ingress.ts";
import {
  type IngressBackend,
  IngressHarness,
  readUntil,
  until,
  WEB_SOCKETS_MAX,
  within,
  worker,
} from "./ingress-harness.ts";

const ECHO = `export default { fetch(request) {
  if (request.headers.get("upgrade") !== "websocket") return new Response("plain");
  if (new URL(request.url).pathname === "/no") return new Response("no", { status: 403 });
  const [client, server] = Object.values(new WebSocketPair());
  server.binaryType = "arraybuffer";
  server.accept();
  server.addEventListener("message", ({ data }) => server.send(data));
  return new Response(null, { status: 101, webSocket: client,
    headers: { "sec-websocket-protocol": request.headers.get("sec-websocket-protocol") ?? "",
      "x-caller": request.headers.get("cf-connecting-ip") } });
} }`;

const HANDSHAKE = [
  "GET /no HTTP/1.1",
  "host: test.localhost",
  "connection: Upgrade",
  "upgrade: websocket",
  "sec-websocket-version: 13",
  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
];

export function describeWebSockets(backend: IngressBackend): void {
  describe("WebSockets", () => {
    let harness: IngressHarness;
    const clients: WebSocket[] = [];
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(async () => {
      for (const client of clients.splice(0)) client.terminate();
      await harness.dispose();
    });

    async function open(protocols: string[] = []): Promise<WebSocket> {
      const client = new WebSocket(`ws://127.0.0.1:${harness.port}/`, protocols, {
        headers: { host: "test.localhost", "cf-connecting-ip": "forged" },
      });
      clients.push(client);
      await within(once(client, "open"), "the handshake");
      return client;
    }

    test("reach the worker and carry text, bytes and large messages both ways", async () => {
      await harness.serveWorker(ECHO);
      const client = await open();
      for (const message of ["text", Buffer.from("bytes"), Buffer.alloc(900_000, 7)]) {
        client.send(message);
        const [echoed, isBinary] = (await within(once(client, "message"), "the echo")) as [
          Buffer,
          boolean,
        ];
        expect(isBinary).toBe(typeof message !== "string");
        expect(echoed.equals(Buffer.from(message))).toBe(true);
      }
      client.close(4_001, "done");
      const [code] = (await within(once(client, "close"), "the close")) as [number];
      expect(code).toBe(4_001);
    });

    test("keep their subprotocol, and their handshake gets the ingress's headers", async () => {
      await harness.serveWorker(ECHO);
      const client = new WebSocket(`ws://127.0.0.1:${harness.port}/`, ["chat"], {
        headers: { host: "test.localhost", "cf-connecting-ip": "forged" },
      });
      clients.push(client);
      const opened = within(once(client, "open"), "the handshake");
      const [response] = (await once(client, "upgrade")) as [{ headers: Record<string, string> }];
      expect(response.headers["x-caller"]).toBe("127.0.0.1");
      expect(response.headers["cf-ray"]).toMatch(/^[0-9a-f]{16}-fra$/);
      expect(response.headers["server"]).toBe("atoll");
      await opened;
      expect(client.protocol).toBe("chat");
    });

    test("that a worker declines get its answer, and what follows is no request", async () => {
      await harness.serveWorker(ECHO);
      const smuggled = "GET /smuggled HTTP/1.1\r\nhost: test.localhost\r\n\r\n";
      const answer = await harness.exchange(`${HANDSHAKE.join("\r\n")}\r\n\r\n${smuggled}`);
      expect(answer).toMatch(/^HTTP\/1.1 403 /);
      expect(answer.match(/HTTP\/1.1/g)).toHaveLength(1);
      expect(answer).toMatch(/no$/);
    });

    test("wait for a cold worker, and get a page when it does not start", async () => {
      await harness.serveWorker(ECHO);
      const warm = harness.ingress;
      harness.activate = () => Promise.reject(new Error("does not start"));
      warm.publish(worker("test"), []);
      const answer = await harness.exchange(`${HANDSHAKE.join("\r\n")}\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1.1 502 /);
      const before = await harness.exchange(
        `${HANDSHAKE.join("\r\n")}\r\n\r\n`.replace("test.localhost", "unknown.localhost"),
      );
      expect(before).toMatch(/^HTTP\/1.1 404 /);
    });

    test("are closed when their cell dies", async () => {
      const { kill } = await harness.serveWorker(ECHO);
      const client = await open();
      const closing = within(once(client, "close"), "the close");
      await kill();
      const [code] = (await closing) as [number];
      // No close frame came: the connection itself ended.
      expect(code).toBe(1_006);
    });

    test("close their cell's connection when the client is gone", async () => {
      let isGone = false;
      const cell = await harness.serve(() => undefined);
      cell.server.on("upgrade", (_, socket) => {
        socket.on("error", () => undefined);
        socket.resume();
        socket.once("end", () => {
          isGone = true;
        });
        socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
      });
      const socket = await harness.dial();
      socket.write(`${HANDSHAKE.join("\r\n")}\r\n\r\n`);
      await readUntil(socket, (text) => text.includes("101"));
      socket.destroy();
      await until(() => isGone, "the cell's connection to be closed");
      expect((await harness.ingress.counters()).errors).toBe(0);
    });

    test("that end their cell for a limit get its page, and end no other cell", async () => {
      let asked = 0;
      const doomed = await harness.serve((_, response) => response.end());
      doomed.server.on("upgrade", (_, socket) => {
        asked += 1;
        socket.destroy();
      });
      harness.lossOf = async () => "cpu_exceeded";
      harness.activate = async () => ({ socketPath: doomed.socketPath });
      const answer = await harness.exchange(`${HANDSHAKE.join("\r\n")}\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1.1 503 [^]*x-atoll-error: cpu_exceeded\r\n/);
      expect(asked).toBe(1);
    });

    test("that somebody's kill of their cell broke off go on to the next one", async () => {
      const doomed = await harness.serve((_, response) => response.end());
      doomed.server.on("upgrade", (_, socket) => socket.destroy());
      const next = await harness.startWorker(ECHO);
      harness.lossOf = async () => "killed";
      harness.activate = async () => ({ socketPath: next.socketPath });
      await harness.ingress.settled();
      expect((await open()).readyState).toBe(WebSocket.OPEN);
    });

    test("are the only protocol that is switched to", async () => {
      await harness.serveWorker(ECHO);
      const answer = await harness.exchange(
        "GET / HTTP/1.1\r\nhost: test.localhost\r\nconnection: Upgrade, HTTP2-Settings, close\r\n" +
          "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
      );
      expect(answer).toMatch(/^HTTP\/1.1 200 /);
      expect(answer).toMatch(/plain/);
    });

    test("are as many to one cell as it may have, and one more when one is closed", async () => {
      const { socketPath } = await harness.serveWorker(ECHO);
      for (let count = 1; count < WEB_SOCKETS_MAX; count += 1) await open();
      const last = await open();
      expect((await harness.ingress.counters()).inFlight).toBe(WEB_SOCKETS_MAX);
      const refused = await harness.exchange(`${HANDSHAKE.join("\r\n")}\r\n\r\nearly`);
      expect(refused).toMatch(/^HTTP\/1.1 503 /);
      expect(refused).toMatch(/x-atoll-error: websockets_full\r\n/i);
      expect(refused).toMatch(/retry-after: 1\r\n/i);
      expect(refused).toMatch(/\r\n\r\nerror code: 503\nToo many WebSockets: /);
      expect((await harness.call()).text).toBe("plain");
      expect((await harness.ingress.counters()).errors).toBe(1);
      const refusal = (): ServedRequest | undefined =>
        harness.served.find(({ status }) => status === 503);
      await until(() => refusal() !== undefined, "what was refused to be told of");
      const nothing = { socketPath: undefined, bytesIn: 0, bytesOut: 0 };
      expect(refusal()).toMatchObject({ worker: worker("test"), ...nothing });
      await closeOne(last, socketPath);
      await open();
    });

    test("are counted together, whether their cell was warm, cold or got company", async () => {
      const { socketPath } = await harness.serveWorker(ECHO);
      const other = harness.newSocketPath();
      harness.activate = async () => ({ socketPath });
      const { ingress } = harness;
      const places: ReadonlyArray<ReadonlyArray<string>> = [
        [socketPath],
        [],
        [socketPath, other],
        [socketPath],
      ];
      const clients: WebSocket[] = [];
      for (const place of places) {
        ingress.publish(worker("test"), place);
        await ingress.settled();
        clients.push(await open());
      }
      expect((await ingress.counters()).inFlight).toBe(WEB_SOCKETS_MAX);
      for (const place of [[], [socketPath]]) {
        ingress.publish(worker("test"), place);
        expect(await harness.exchange(`${HANDSHAKE.join("\r\n")}\r\n\r\n`)).toMatch(
          /x-atoll-error: websockets_full\r\n/i,
        );
      }
      // The one that came while the cell was cold makes room for one that comes now.
      const [, cold] = clients;
      if (cold !== undefined) await closeOne(cold, socketPath);
      await open();
    });

    /** Closes a WebSocket, and waits until the ingress has forgotten it. */
    async function closeOne(client: WebSocket, socketPath: string): Promise<void> {
      const inFlight = async (): Promise<number> =>
        (await harness.ingress.requestsOf(socketPath)).inFlight;
      const before = await inFlight();
      client.terminate();
      await until(async () => (await inFlight()) === before - 1, "the WebSocket to be forgotten");
      await harness.ingress.settled();
    }

    test("with a body in the handshake are refused", async () => {
      let wasReached = false;
      const cell = await harness.serve(() => undefined);
      cell.server.on("connection", () => {
        wasReached = true;
      });
      const answer = await harness.exchange(
        `${[...HANDSHAKE, "content-length: 5"].join("\r\n")}\r\n\r\nhello`,
      );
      expect(answer).toMatch(/^HTTP\/1.1 400 /);
      expect(wasReached).toBe(false);
    });
  });
}
