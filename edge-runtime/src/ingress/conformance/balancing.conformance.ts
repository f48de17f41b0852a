import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EndlessClients } from "./endless-clients.ts";
import {
  type Answer,
  type IngressBackend,
  IngressHarness,
  readUntil,
  type ScriptedCell,
  until,
  worker,
} from "./ingress-harness.ts";

/** A cell that answers when it is told to. */
interface HoldingCell extends ScriptedCell {
  readonly held: ServerResponse[];
}

const HANDSHAKE =
  "GET / HTTP/1.1\r\nhost: test.localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
  "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

export function describeBalancing(backend: IngressBackend): void {
  describe("several cells of one worker", () => {
    let harness: IngressHarness;
    let answers: Array<Promise<Answer>>;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
      answers = [];
    });
    afterEach(() => harness.dispose());

    async function serveHolding(count: number): Promise<ReadonlyArray<HoldingCell>> {
      const cells = await Promise.all(Array.from({ length: count }, startHolding));
      harness.routeTo(...cells.map(({ socketPath }) => socketPath));
      await harness.ingress.settled();
      return cells;
    }

    async function startHolding(): Promise<HoldingCell> {
      const held: ServerResponse[] = [];
      const cell = await harness.startCell((_, response) => held.push(response));
      cell.server.on("upgrade", (_, socket) => {
        socket.on("error", () => undefined);
        socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
      });
      return { ...cell, held };
    }

    /** Sends a request and waits until one of the cells has it. */
    async function hold(cells: ReadonlyArray<HoldingCell>, method = "GET"): Promise<void> {
      const before = cells.reduce((sum, { held }) => sum + held.length, 0);
      answers.push(harness.call({ method }));
      const isHeld = (): boolean =>
        cells.reduce((sum, { held }) => sum + held.length, 0) === before + 1;
      await until(isHeld, "the request to reach a cell");
    }

    async function release(cells: ReadonlyArray<HoldingCell>): Promise<void> {
      for (const { held } of cells) for (const response of held.splice(0)) response.end();
    }

    test("get each request where the fewest are in flight, whatever its method", async () => {
      const cells = await serveHolding(3);
      for (const method of ["GET", "POST", "GET", "PUT", "POST", "GET"]) await hold(cells, method);
      expect(cells.map(({ held }) => held.length)).toEqual([2, 2, 2]);
      const [, second] = cells;
      await release([second as HoldingCell]);
      const isIdle = async (): Promise<boolean> =>
        (await harness.ingress.requestsOf(second?.socketPath ?? "")).inFlight === 0;
      await until(isIdle, "the answers to arrive");
      await hold(cells);
      await hold(cells);
      expect(cells.map(({ held }) => held.length)).toEqual([2, 2, 2]);
      await release(cells);
      const statuses = (await Promise.all(answers)).map(({ status }) => status);
      expect(statuses).toEqual(Array.from({ length: 8 }, () => 200));
    });

    test("have their WebSockets counted with the rest", async () => {
      const cells = await serveHolding(2);
      const socket = await harness.dial();
      socket.write(HANDSHAKE);
      await readUntil(socket, (text) => text.includes("101"));
      await hold(cells);
      expect(cells.map(({ held }) => held.length)).toEqual([0, 1]);
      await release(cells);
    });

    test("serve on when one of them dies, and what died with it is not repeated", async () => {
      const script = `export default { async fetch(request) {
        if (new URL(request.url).pathname === "/wait") await scheduler.wait(60_000);
        return new Response("served");
      } };`;
      const doomed = await harness.startWorker(script);
      const other = await harness.startWorker(script);
      harness.routeTo(doomed.socketPath, other.socketPath);
      const { ingress } = harness;
      const inFlight = async (): Promise<ReadonlyArray<number>> => [
        (await ingress.requestsOf(doomed.socketPath)).inFlight,
        (await ingress.requestsOf(other.socketPath)).inFlight,
      ];
      const waiting = harness.call({ path: "/wait", method: "POST", body: "only once" });
      await until(async () => (await inFlight())[0] === 1, "the request to arrive");
      // Its cell has read it when a later one on another connection of the same cell was answered.
      expect((await harness.call()).text).toBe("served");
      await new Promise((resolve) => setTimeout(resolve, 100));
      harness.activate = async () => ({ socketPath: other.socketPath });
      await doomed.kill();
      expect((await waiting).headers["x-atoll-error"]).toBe("cell_lost");
      // Before anybody has said that the cell is gone, and after.
      for (let count = 0; count < 20; count += 1) {
        if (count === 10) harness.routeTo(other.socketPath);
        expect((await harness.call({ method: "POST", body: "x" })).text).toBe("served");
      }
      expect(await inFlight()).toEqual([0, 0]);
    });

    test("come and go under load without the loss of a request", async () => {
      const first = await harness.startCell((_, response) => response.end("first"));
      harness.routeTo(first.socketPath);
      const clients = new EndlessClients(harness, ["GET", "POST", "GET", "POST"]);
      let others = 0;
      for (let turn = 1; turn <= 10; turn += 1) {
        const next = await harness.startCell((_, response) => {
          others += 1;
          setTimeout(() => response.end(), 2);
        });
        harness.routeTo(first.socketPath, next.socketPath);
        await until(() => clients.answered > turn * 20, "requests to pass");
        harness.routeTo(first.socketPath);
        await harness.ingress.drain(next.socketPath);
        next.server.closeAllConnections();
        next.server.close();
        await once(next.server, "close");
      }
      await clients.stop();
      expect([...clients.outcomes]).toEqual(["200"]);
      expect(others).toBeGreaterThan(0);
      expect((await harness.ingress.counters()).errors).toBe(0);
    });

    test("keep the count of their requests when a cell gets company and loses it", async () => {
      const [cell, other] = await Promise.all([startHolding(), startHolding()]);
      const begun = async (): Promise<number> =>
        (await harness.ingress.requestsOf(cell.socketPath)).begun;
      for (const company of [[], [other.socketPath], []]) {
        harness.routeTo(cell.socketPath, ...company);
        await hold([cell]);
        await release([cell]);
        await answers.at(-1);
      }
      expect(await begun()).toBe(3);
      harness.ingress.publish(worker("test"), []);
      await harness.ingress.drain(cell.socketPath);
      await until(async () => (await begun()) === 0, "the cell to be forgotten");
    });
  });
}
