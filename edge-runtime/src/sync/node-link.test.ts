import { once } from "node:events";
import type { AddressInfo } from "node:net";
import {
  decodeMessage,
  MessageFromNode,
  StateRevision,
  type CellStatus,
  type NodeReport,
} from "@atoll/control-plane/contract";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WebSocketServer, type WebSocket } from "ws";
import { ManualClock } from "@atoll/kv-store/manual-clock";
import { LIMITS } from "../limits.ts";
import { ControlPlanes } from "./control-planes.ts";
import { NodeLink } from "./node-link.ts";
import type { ChangeOutcome } from "./state-follower.ts";

const CELL: CellStatus = {
  workers: ["hello"],
  version: "v",
  state: "warm",
  pid: 1,
  memoryBytes: 1,
  cpuMs: 1,
};
const CONFINEMENT = { sandbox: "none", shortfalls: [] };

let server: WebSocketServer;
let clock: ManualClock;
let cells: CellStatus[];
let messages: MessageFromNode[];
let sockets: WebSocket[];
let link: NodeLink;
/** What the next attempts at failed workers come to. */
let outcomes: Array<Extract<ChangeOutcome, { kind: "applied" }>>;
/** Before connections that are to follow ended ones. */
let waitsMs: number[];
/** Of the longest wait that there may be, what is waited. */
let share: number;

beforeEach(async () => {
  clock = new ManualClock();
  cells = [CELL];
  messages = [];
  sockets = [];
  outcomes = [];
  waitsMs = [];
  share = 0;
  server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  server.on("connection", (socket) => {
    sockets.push(socket);
    socket.on("message", (data: Buffer) => messages.push(decodeMessage(MessageFromNode, data)));
  });
  await once(server, "listening");
  link = new NodeLink({
    controlPlanes: new ControlPlanes([
      `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ]),
    credential: "credential",
    random: () => share,
    follower: {
      revision: StateRevision.parse(0),
      receive: () => Promise.reject(new Error("no state is sent")),
      retryFailed: async () => outcomes.shift(),
    },
    kv: { attach: () => undefined, status: () => [] },
    usage: {
      connected: () => undefined,
      disconnected: () => undefined,
      acknowledged: () => undefined,
    },
    dayGate: { hear: () => undefined },
    scheduled: {
      connected: () => undefined,
      disconnected: () => undefined,
      start: () => undefined,
      acknowledged: () => undefined,
    },
    tails: {
      connected: () => undefined,
      disconnected: () => undefined,
      follow: async () => undefined,
    },
    cells: () => cells,
    cellEnds: () => ({ cellFaults: [], cellEnds: {} }),
    confinement: CONFINEMENT,
    ingressUrl: "http://127.0.0.1:1",
    clock,
    log: pino(
      { level: "warn" },
      {
        write: (line: string) => {
          const { waitMs } = JSON.parse(line) as { waitMs?: number };
          if (waitMs !== undefined) waitsMs.push(waitMs);
        },
      },
    ),
  });
  link.open();
  await waitFor(() => expect(reports()).toHaveLength(1));
});

afterEach(async () => {
  link.close();
  for (const socket of sockets) socket.terminate();
  server.close();
  await once(server, "close");
});

function reports(): ReadonlyArray<NodeReport> {
  return messages.flatMap((message) => (message.kind === "report" ? [message.report] : []));
}

test("node link: a report has what changed since the one before, and there is none when nothing did", async () => {
  const whole = { cells, kv: [], cellFaults: [], cellEnds: {}, confinement: CONFINEMENT };
  expect(reports()).toEqual([whole]);
  clock.advance(10 * LIMITS.reportMs);
  cells = [{ ...CELL, cpuMs: 2 }];
  clock.advance(LIMITS.reportMs);
  // Messages keep their order, so nothing came between.
  await waitFor(() => expect(reports()).toEqual([whole, { cells }]));
});

test("node link: a new connection is told everything", async () => {
  const [whole] = reports();
  sockets[0]?.terminate();
  await waitFor(() => expect(reports()).toEqual([whole, whole]));
});

test("node link: what failed is tried again with each connection and from time to time, and its end is told", async () => {
  const revision = StateRevision.parse(7);
  const failures = [{ worker: `${"a".repeat(32)}/hello`, version: "v", reason: "no content" }];
  outcomes = [
    { kind: "applied", revision, failures },
    { kind: "applied", revision, failures: [] },
  ];
  const applied = () => messages.filter(({ kind }) => kind === "applied");
  sockets[0]?.terminate();
  await waitFor(() => expect(applied()).toEqual([{ kind: "applied", revision, failures }]));
  clock.advance(LIMITS.failedWorkersRetryMs);
  await waitFor(() =>
    expect(applied()).toContainEqual({ kind: "applied", revision, failures: [] }),
  );
});

test("node link: one that ends as soon as it stands comes back more slowly each time", async () => {
  share = 0.1;
  server.on("connection", (socket) => socket.terminate());
  sockets[0]?.terminate();
  const ceilingsMs = [1, 2, 4, 8, 16].map((times) => times * LIMITS.reconnectMs);
  await waitFor(() => expect(waitsMs.slice(0, 5)).toEqual(ceilingsMs.map((ms) => ms * share)));
});
