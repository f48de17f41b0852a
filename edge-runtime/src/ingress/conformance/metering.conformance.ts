import { once } from "node:events";
import { request as httpRequest, type ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { EdgeError } from "../../errors.ts";
import type { ServedRequest } from "../ingress.ts";
import {
  type IngressBackend,
  IngressHarness,
  readUntil,
  until,
  within,
  worker,
} from "./ingress-harness.ts";

const HANDSHAKE =
  "GET /no HTTP/1.1\r\nhost: test.localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n" +
  "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

type Told = Omit<ServedRequest, "wallMs">;

export function describeMetering(backend: IngressBackend): void {
  describe("metering", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(() => harness.dispose());

    /**
     * Waits until so many were told of, and lets one more request pass, so that what comes twice
     * has come as well. The order is by status and size: threads of an ingress tell in an order of their own.
     */
    async function told(count: number): Promise<ReadonlyArray<Told>> {
      await until(() => harness.served.length >= count, "the requests to be told of");
      const mark = await harness.startCell((_, response) => response.end());
      harness.ingress.setRoutes([{ pattern: "mark.localhost/*", worker: worker("mark") }]);
      harness.ingress.publish(worker("mark"), [mark.socketPath]);
      await harness.call({ host: "mark.localhost" });
      const isMark = (request: ServedRequest): boolean => request.worker === worker("mark");
      await until(() => harness.served.some(isMark), "the last request to be told of");
      const requests = harness.served.filter((request) => !isMark(request));
      for (const { wallMs } of requests) expect(wallMs).toBeGreaterThanOrEqual(0);
      return requests
        .map(withoutTime)
        .toSorted((one, other) => one.status - other.status || one.bytesOut - other.bytesOut);
    }

    const TEST = { worker: worker("test"), bytesIn: 0, bytesOut: 0 };

    test("tells of each request with its cell, its status and the bytes of its bodies", async () => {
      const { socketPath } = await harness.serve((request, response) => {
        request.resume();
        request.on("end", () => {
          response.statusCode = Number(request.url?.slice(1));
          response.end("x".repeat(response.statusCode));
        });
      });
      await harness.call({ path: "/200" });
      await harness.call({ path: "/503" });
      await harness.call({ path: "/404", method: "HEAD" });
      await harness.call({ path: "/201", method: "POST", body: "12345" });
      const headers = { "transfer-encoding": "chunked" };
      await harness.call({ path: "/202", method: "PUT", headers, body: Buffer.alloc(300_000) });
      expect(await told(5)).toEqual([
        { ...TEST, socketPath, status: 200, bytesOut: 200 },
        { ...TEST, socketPath, status: 201, bytesIn: 5, bytesOut: 201 },
        { ...TEST, socketPath, status: 202, bytesIn: 300_000, bytesOut: 202 },
        { ...TEST, socketPath, status: 404 },
        { ...TEST, socketPath, status: 503, bytesOut: 503 },
      ]);
    });

    test("counts an answer in chunks by its content, at once and piece by piece", async () => {
      const { socketPath } = await harness.serve((request, response) => {
        response.write("a".repeat(10));
        if (request.url === "/once") response.end("b".repeat(20));
        else if (request.url === "/slow") setTimeout(() => response.end("b".repeat(200_000)), 30);
        else setTimeout(() => response.end(), 30);
      });
      for (const path of ["/once", "/slow", "/late"]) await harness.call({ path });
      expect(await told(3)).toEqual([
        { ...TEST, socketPath, status: 200, bytesOut: 10 },
        { ...TEST, socketPath, status: 200, bytesOut: 30 },
        { ...TEST, socketPath, status: 200, bytesOut: 200_010 },
      ]);
    });

    test("takes as long as the request did", async () => {
      await harness.serve((_, response) => {
        setTimeout(() => response.end(), 200);
      });
      await harness.call();
      await until(() => harness.served.length === 1, "the request to be told of");
      const { wallMs = 0 } = harness.served[0] ?? {};
      expect(wallMs).toBeGreaterThanOrEqual(199);
      expect(Number.isInteger(wallMs)).toBe(true);
    });

    test("tells of a request for a cold worker with the cell that it waited for", async () => {
      const cell = await harness.startCell((_, response) => response.end("warm"));
      harness.ingress.setRoutes([{ pattern: "test.localhost/*", worker: worker("test") }]);
      harness.activate = async () => ({ socketPath: cell.socketPath, coldMs: 7 });
      await harness.call();
      const { socketPath } = cell;
      expect(await told(1)).toEqual([{ ...TEST, socketPath, status: 200, bytesOut: 4 }]);
    });

    test("tells of each request with the one of its worker's cells that had it", async () => {
      const { promise: arrived, resolve } = Promise.withResolvers<ServerResponse>();
      const one = await harness.serve((_, response) => resolve(response));
      const other = await harness.startCell((_, response) => response.end("22"));
      harness.ingress.publish(worker("test"), [one.socketPath, other.socketPath]);
      // Of equals the first one gets it, and it is the busier one until it answers.
      const held = harness.call();
      const response = await arrived;
      for (let count = 0; count < 2; count += 1) await harness.call();
      response.end("1");
      await held;
      expect(await told(3)).toEqual([
        { ...TEST, socketPath: one.socketPath, status: 200, bytesOut: 1 },
        { ...TEST, socketPath: other.socketPath, status: 200, bytesOut: 2 },
        { ...TEST, socketPath: other.socketPath, status: 200, bytesOut: 2 },
      ]);
    });

    test("tells of a request that got a page for it, whose bytes count nothing", async () => {
      harness.ingress.setRoutes([{ pattern: "test.localhost/*", worker: worker("test") }]);
      harness.activate = () => Promise.reject(new EdgeError("queue_full", "too many"));
      await harness.call();
      await harness.call({ method: "POST", body: "never read" });
      const dead = harness.newSocketPath();
      harness.activate = async () => ({ socketPath: dead });
      await harness.call();
      expect(await told(3)).toEqual([
        { ...TEST, socketPath: dead, status: 502 },
        { ...TEST, socketPath: undefined, status: 503 },
        { ...TEST, socketPath: undefined, status: 503 },
      ]);
    });

    test("tells nothing of requests that were routed to nobody", async () => {
      await harness.serve((_, response) => response.end());
      expect((await harness.call({ host: "unknown.localhost" })).status).toBe(404);
      await harness.exchange("nonsense\r\n\r\n");
      await harness.exchange("GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
      expect(await told(0)).toEqual([]);
    });

    test("tells of a worker that throws, and of one whose cell dies, once", async () => {
      const { kill, socketPath } = await harness.serveWorker(`export default {
        async fetch(request) {
          if (new URL(request.url).pathname === "/throw") throw new Error("thrown");
          await scheduler.wait(60_000);
        } }`);
      await harness.call({ path: "/throw" });
      await harness.call({ path: "/throw", headers: { accept: "text/html" } });
      const arrived = (await harness.ingress.counters()).requests;
      const lost = [harness.call(), harness.call({ method: "POST" })];
      await until(
        async () => (await harness.ingress.counters()).requests === arrived + 2,
        "the requests to arrive",
      );
      await new Promise((resolve) => setTimeout(resolve, 100));
      await kill();
      await Promise.all(lost);
      expect(await told(4)).toEqual(
        [500, 500, 502, 502].map((status) => ({ ...TEST, socketPath, status })),
      );
    });

    test("tells once of a request that went on to a second cell", async () => {
      const dead = harness.newSocketPath();
      harness.routeTo(dead);
      const live = await harness.startCell((request, response) => request.pipe(response));
      harness.activate = async () => ({ socketPath: live.socketPath });
      await harness.call({ method: "POST", body: "12345" });
      expect(await told(1)).toEqual([
        { ...TEST, socketPath: live.socketPath, status: 200, bytesIn: 5, bytesOut: 5 },
      ]);
    });

    test("tells of a client that leaves, before its answer and in the midst of it", async () => {
      const { promise: arrived, resolve } = Promise.withResolvers<ServerResponse>();
      const { socketPath } = await harness.serve((request, response) => {
        if (request.url === "/silent") resolve(response);
        else response.write("1234567890");
      });
      const silent = await harness.dial();
      silent.write("GET /silent HTTP/1.1\r\nhost: test.localhost\r\n\r\n");
      await arrived;
      silent.destroy();
      const half = await harness.dial();
      half.write("GET /half HTTP/1.1\r\nhost: test.localhost\r\n\r\n");
      await readUntil(half, (text) => text.includes("1234567890"));
      half.destroy();
      expect(await told(2)).toEqual([
        { ...TEST, socketPath, status: 200, bytesOut: 10 },
        { ...TEST, socketPath, status: 499 },
      ]);
    });

    test("tells of every request of one connection, those sent ahead included", async () => {
      const { socketPath } = await harness.serve((request, response) => response.end(request.url));
      const get = (path: string, last = ""): string =>
        `GET ${path} HTTP/1.1\r\nhost: test.localhost\r\n${last}\r\n`;
      await harness.exchange(get("/1") + get("/22") + get("/333", "connection: close\r\n"));
      expect(await told(3)).toEqual(
        [2, 3, 4].map((bytesOut) => ({ ...TEST, socketPath, status: 200, bytesOut })),
      );
    });

    test("tells of requests that were sent ahead by a client that leaves", async () => {
      let reached = 0;
      const { socketPath } = await harness.serve(() => {
        reached += 1;
      });
      const socket = await harness.dial();
      socket.write("GET / HTTP/1.1\r\nhost: test.localhost\r\n\r\n".repeat(3));
      await until(() => reached === 3, "the requests to arrive");
      socket.destroy();
      expect(await told(3)).toEqual([1, 2, 3].map(() => ({ ...TEST, socketPath, status: 499 })));
    });

    test("tells of a WebSocket at its end, with all that it carried", async () => {
      const { socketPath } = await harness.serveWorker(ECHO);
      const client = new WebSocket(`ws://127.0.0.1:${harness.port}/`, {
        headers: { host: "test.localhost" },
        perMessageDeflate: false,
      });
      await within(once(client, "open"), "the handshake");
      client.send("x".repeat(100));
      await within(once(client, "message"), "the echo");
      expect(harness.served).toEqual([]);
      client.close(1_000);
      await within(once(client, "close"), "the close");
      // Frames: 100 bytes with 2 of head, and 2 with 2 for the close; those of clients have 4 of mask.
      expect(await told(1)).toEqual([
        { ...TEST, socketPath, status: 101, bytesIn: 114, bytesOut: 106 },
      ]);
    });

    test("tells of a WebSocket that is declined, lost, or refused for its worker", async () => {
      const { socketPath, kill } = await harness.serveWorker(ECHO);
      await harness.exchange(HANDSHAKE);
      const client = new WebSocket(`ws://127.0.0.1:${harness.port}/`, {
        headers: { host: "test.localhost" },
      });
      await within(once(client, "open"), "the handshake");
      const closed = within(once(client, "close"), "the close");
      await kill();
      await closed;
      harness.ingress.publish(worker("test"), []);
      harness.activate = () => Promise.reject(new EdgeError("queue_full", "too many"));
      await harness.exchange(HANDSHAKE);
      expect(await told(3)).toEqual([
        { ...TEST, socketPath, status: 101 },
        { ...TEST, socketPath, status: 403, bytesOut: 2 },
        { ...TEST, socketPath: undefined, status: 503 },
      ]);
    });

    test("tells of requests that end while it closes before it is closed", async () => {
      const { socketPath } = await harness.serve((request, response) => {
        setTimeout(() => response.end("finished"), request.url === "/slow" ? 200 : 0);
      });
      const request = httpRequest({
        port: harness.port,
        headers: { host: "test.localhost" },
        path: "/slow",
      });
      request.end();
      await until(
        async () => (await harness.ingress.counters()).requests === 1,
        "the request to arrive",
      );
      const quick = harness.call();
      const [response] = await Promise.all([
        once(request, "response"),
        quick,
        quick.then(() => harness.ingress.close()),
      ]);
      response[0].resume();
      expect(harness.served.map(withoutTime)).toEqual(
        [1, 2].map(() => ({ ...TEST, socketPath, status: 200, bytesOut: 8 })),
      );
    });
  });
}

function withoutTime({ worker: key, socketPath, status, bytesIn, bytesOut }: ServedRequest): Told {
  return { worker: key, socketPath, status, bytesIn, bytesOut };
}

const ECHO = `export default { fetch(request) {
  if (new URL(request.url).pathname === "/no") return new Response("no", { status: 403 });
  const [client, server] = Object.values(new WebSocketPair());
  server.accept();
  server.addEventListener("message", ({ data }) => server.send(data));
  return new Response(null, { status: 101, webSocket: client });
} }`;
