import { once } from "node:events";
import { Agent, get, type IncomingMessage, type ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { LIMITS } from "../../limits.ts";
import {
  DRAIN_MS,
  type IngressBackend,
  IngressHarness,
  type ScriptedCell,
  until,
  within,
  worker,
} from "./ingress-harness.ts";

const WANTS_SWITCH = [
  "upgrade: websocket",
  "sec-websocket-version: 13",
  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
].join("\r\n");

export function describeSwitching(backend: IngressBackend): void {
  describe("switching cells", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(() => harness.dispose());

    async function closeCell(cell: ScriptedCell): Promise<void> {
      cell.server.closeAllConnections();
      cell.server.close();
      await once(cell.server, "close");
    }

    test("sends every request after publish to the new cell, while the old one finishes its own", async () => {
      const { promise: arrived, resolve } = Promise.withResolvers<ServerResponse>();
      const old = await harness.serve((_, response) => resolve(response));
      const slow = harness.call();
      const response = await arrived;
      const next = await harness.startCell((_, answer) => answer.end("new"));
      harness.routeTo(next.socketPath);
      expect((await harness.call()).text).toBe("new");
      let isDrained = false;
      const drained = harness.ingress.drain(old.socketPath).then(() => {
        isDrained = true;
      });
      await harness.call();
      expect(isDrained).toBe(false);
      response.end("old");
      expect((await slow).text).toBe("old");
      await within(drained, "the drain");
      // An idle or unknown socket has nothing to wait for.
      await harness.ingress.drain(old.socketPath);
    });

    test("loses no request over 20 switches under load", async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 16 });
      const statuses = new Set<string>();
      const stop = new AbortController();
      let answered = 0;
      const client = async (): Promise<void> => {
        while (!stop.signal.aborted) {
          const outcome = await once(requestThrough(agent, harness.port), "answered").then(
            ([status]) => String(status),
            (error: Error) => error.message,
          );
          statuses.add(outcome);
          answered += 1;
        }
      };
      let current = await harness.serve((_, response) => response.end("0"));
      const clients = Array.from({ length: 16 }, client);
      for (let turn = 1; turn <= 20; turn += 1) {
        const next = await harness.startCell((_, response) => {
          setTimeout(() => response.end(String(turn)), 2);
        });
        harness.routeTo(next.socketPath);
        await harness.ingress.drain(current.socketPath);
        await closeCell(current);
        current = next;
        await until(() => answered > turn * 30, "requests to pass");
      }
      stop.abort();
      await Promise.all(clients);
      agent.destroy();
      expect([...statuses]).toEqual(["200"]);
      expect((await harness.ingress.counters()).errors).toBe(0);
    });

    test("cuts off what is left when the drain's time is over", async () => {
      const { promise: arrived, resolve } = Promise.withResolvers<void>();
      const cell = await harness.serve(() => resolve());
      cell.server.on("upgrade", (_, socket) => {
        socket.on("error", () => undefined);
        socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
      });
      const socket = await harness.dial();
      socket.write(
        "GET / HTTP/1.1\r\nhost: test.localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
          "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      );
      await within(once(socket, "data"), "the handshake");
      const hanging = harness.call().then(
        ({ status }) => `answered ${status}`,
        (error: Error) => error.message,
      );
      await arrived;
      harness.ingress.publish(worker("test"), []);
      const begun = Date.now();
      const closed = once(socket, "close");
      socket.resume();
      await harness.ingress.drain(cell.socketPath);
      expect(Date.now() - begun).toBeGreaterThanOrEqual(DRAIN_MS - 50);
      await within(closed, "the WebSocket to be closed");
      expect(await hanging).toMatch(/hang up|ECONNRESET|answered 502/);
    });

    test.each(["removed", "refusing"] as const)(
      "asks the activator when the published socket is dead (%s)",
      async (kind) => {
        const dead = await harness.serve((_, response) => response.end("dead"));
        const socketPath = kind === "removed" ? harness.newSocketPath() : dead.socketPath;
        await closeCell(dead);
        harness.routeTo(socketPath);
        const live = await harness.startCell((request, response) => request.pipe(response));
        let activations = 0;
        harness.activate = async () => {
          activations += 1;
          return { socketPath: live.socketPath };
        };
        const answer = await harness.call({ method: "POST", body: "not lost" });
        expect([answer.status, answer.text]).toEqual([200, "not lost"]);
        expect(activations).toBe(1);
      },
    );

    test("asks the activator again when what it named is dead by then, whatever the request", async () => {
      const live = await harness.startCell((request, response) => request.pipe(response));
      const paths = [harness.newSocketPath(), harness.newSocketPath(), live.socketPath];
      harness.routeTo(paths.shift() ?? "");
      harness.activate = async () => ({ socketPath: paths.shift() ?? "" });
      const answer = await harness.call({ method: "POST", body: "not lost" });
      expect([answer.status, answer.text]).toEqual([200, "not lost"]);
    });

    test("shows a page when every cell is dead", async () => {
      const dead = harness.newSocketPath();
      harness.routeTo(dead);
      harness.activate = async () => ({ socketPath: dead });
      const answer = await harness.call();
      expect([answer.status, answer.headers["x-atoll-error"]]).toEqual([502, "cell_lost"]);
    });

    test("reuses its connections to a cell", async () => {
      const cell = await harness.serve((_, response) => response.end());
      for (let count = 0; count < 30; count += 1) await harness.call();
      expect(cell.connectionCount()).toBeLessThanOrEqual(3);
    });

    test("tells how many requests a cell has begun and has in flight", async () => {
      const held: ServerResponse[] = [];
      const cell = await harness.serve((request, response) => {
        if (request.url === "/held") held.push(response);
        else response.end("ok");
      });
      const { ingress } = harness;
      expect(await ingress.requestsOf(cell.socketPath)).toEqual({ begun: 0, inFlight: 0 });
      await harness.call();
      await harness.call({ method: "POST", body: "counted, too" });
      await until(
        async () => (await ingress.requestsOf(cell.socketPath)).inFlight === 0,
        "the requests to be over",
      );
      expect(await ingress.requestsOf(cell.socketPath)).toEqual({ begun: 2, inFlight: 0 });
      const slow = harness.call({ path: "/held" });
      await until(() => held.length === 1, "the request");
      expect(await ingress.requestsOf(cell.socketPath)).toEqual({ begun: 3, inFlight: 1 });
      // Also while it drains.
      ingress.publish(worker("test"), []);
      await ingress.settled();
      expect(await ingress.requestsOf(cell.socketPath)).toEqual({ begun: 3, inFlight: 1 });
      held[0]?.end();
      await slow;
      const unknown = await ingress.requestsOf(harness.newSocketPath());
      expect(unknown).toEqual({ begun: 0, inFlight: 0 });
    });

    test("never fails a request because the cell closed an idle connection", async () => {
      const cell = await harness.serve((_, response) => response.end("ok"));
      harness.activate = async () => ({ socketPath: cell.socketPath });
      for (let count = 0; count < 200; count += 1) {
        expect((await harness.call()).text).toBe("ok");
        // At times before, at times while the next request is on its way.
        setTimeout(() => cell.server.closeIdleConnections(), count % 3);
      }
    });
  });

  describe("a cell that dies", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(() => harness.dispose());

    test("gives its requests in flight a 502 page and repeats none of them", async () => {
      const { kill } = await harness.serveWorker(
        `export default { async fetch(request) { await request.text(); await scheduler.wait(60_000); } }`,
      );
      let activations = 0;
      const { promise: restarted, resolve: restart } = Promise.withResolvers<{
        socketPath: string;
      }>();
      harness.activate = () => {
        activations += 1;
        return restarted;
      };
      const inFlight = [
        harness.call(),
        harness.call({ method: "POST", body: "a body", headers: { accept: "text/html" } }),
      ];
      await until(
        async () => (await harness.ingress.counters()).requests === 2,
        "the requests to arrive",
      );
      // Both are with the worker once a later one on another connection has been read, too.
      await new Promise((resolve) => setTimeout(resolve, 100));
      await kill();
      for (const answer of await Promise.all(inFlight)) {
        expect(answer.status).toBe(502);
        expect(answer.headers["x-atoll-error"]).toBe("cell_lost");
        expect(answer.text).toMatch(/502/);
        expect(answer.text).toContain(answer.headers["cf-ray"]);
      }
      expect(activations).toBe(0);
      const later = harness.call();
      const live = await harness.startCell((_, response) => response.end("again"));
      restart({ socketPath: live.socketPath });
      expect((await later).text).toBe("again");
    });

    test("repeats what changes nothing when somebody killed the cell, and the next one as well", async () => {
      const script = `export default { async fetch(request) { await request.text(); await scheduler.wait(60_000); } }`;
      const { kill } = await harness.serveWorker(script);
      harness.lossOf = async () => "killed";
      const next = await harness.startWorker(script);
      const live = await harness.startCell((_, response) => response.end("again"));
      const paths = [next.socketPath, live.socketPath];
      harness.activate = async () => ({ socketPath: paths.shift() ?? "" });
      const safe = harness.call();
      const other = harness.call({ method: "POST", body: "perhaps an order" });
      await until(
        async () => (await harness.ingress.counters()).requests === 2,
        "the requests to arrive",
      );
      await new Promise((resolve) => setTimeout(resolve, 100));
      await kill();
      expect((await other).headers["x-atoll-error"]).toBe("cell_lost");
      await until(
        async () => (await harness.ingress.requestsOf(next.socketPath)).inFlight === 1,
        "the next cell to have it",
      );
      await next.kill();
      expect((await safe).text).toBe("again");
    });

    test("is not followed by others without end", async () => {
      let reached = 0;
      const doomed = await harness.serve((request) => {
        reached += 1;
        request.socket.destroy();
      });
      harness.lossOf = async () => "killed";
      harness.activate = async () => ({ socketPath: doomed.socketPath });
      const answer = await harness.call();
      expect([answer.status, answer.headers["x-atoll-error"]]).toEqual([502, "cell_lost"]);
      expect(reached).toBe(LIMITS.requestAttemptsMax);
    });

    test.each([
      ["a request", "connection: close"],
      ["a handshake", `${WANTS_SWITCH}\r\nconnection: upgrade`],
    ])(
      "is not what an answer to %s is taken for that holds a control character",
      async (_, lines) => {
        let asked = 0;
        const answer = (request: IncomingMessage): void => {
          asked += 1;
          request.socket.end("HTTP/1.1 200 OK\r\nx-odd: a\u0001b\r\ncontent-length: 2\r\n\r\nok");
        };
        const cell = await harness.serve(answer);
        cell.server.on("upgrade", answer);
        harness.activate = async () => ({ socketPath: cell.socketPath });
        const got = await harness.exchange(
          `GET / HTTP/1.1\r\nhost: test.localhost\r\n${lines}\r\n\r\n`,
        );
        // One that can read it passes it on.
        expect(got).toMatch(/^HTTP\/1.1 (200|502[^]*x-atoll-error: answer_invalid\r\n)/);
        expect(asked).toBe(1);
      },
    );

    test("leaves requests to other cells alone", async () => {
      const { kill } = await harness.serveWorker(
        `export default { fetch: () => scheduler.wait(60_000) }`,
      );
      const other = await harness.startCell((_, response) => {
        setTimeout(() => response.end("untouched"), 100);
      });
      harness.ingress.setRoutes([
        { pattern: "test.localhost/*", worker: worker("test") },
        { pattern: "other.localhost/*", worker: worker("other") },
      ]);
      harness.ingress.publish(worker("other"), [other.socketPath]);
      const doomed = harness.call();
      const untouched = harness.call({ host: "other.localhost" });
      await until(
        async () => (await harness.ingress.counters()).requests === 2,
        "the requests to arrive",
      );
      await new Promise((resolve) => setTimeout(resolve, 50));
      await kill();
      expect((await doomed).status).toBe(502);
      expect((await untouched).text).toBe("untouched");
    });
  });

  describe("closing", () => {
    test("lets requests in flight finish, then refuses connections; twice is once", async () => {
      const harness = await IngressHarness.open(backend);
      await harness.serve((_, response) => {
        setTimeout(() => response.end("finished"), 100);
      });
      const inFlight = harness.call();
      await until(
        async () => (await harness.ingress.counters()).requests === 1,
        "the request to arrive",
      );
      const { url } = harness.ingress;
      const closing = harness.ingress.close();
      expect((await inFlight).text).toBe("finished");
      await closing;
      await harness.ingress.close();
      const client = new WebSocket(url.replace("http", "ws"));
      const [error] = (await once(client, "error")) as [NodeJS.ErrnoException];
      expect(error.code).toBe("ECONNREFUSED");
      await harness.dispose();
    });
  });
}

/** A request through an agent, as an emitter of `answered` with the status, or of `error`. */
function requestThrough(agent: Agent, port: number): NodeJS.EventEmitter {
  const request = get({ port, agent, headers: { host: "test.localhost" } }, (response) => {
    response.resume();
    response.once("end", () => request.emit("answered", response.statusCode));
  });
  return request;
}
