import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ServedRequest } from "../ingress.ts";
import { RequestLog } from "./request-log.ts";
import { parseLogLine } from "./request-line.ts";

const WORKER = `${"0".repeat(32)}/test`;

/** A line as HAProxy 2.6 writes it: a request of 5 bytes that was answered with 1,234. */
function line(changes: Partial<Readonly<Record<keyof typeof FIELDS, string>>> = {}): string {
  return Object.values({ ...FIELDS, ...changes }).join(" ");
}
const FIELDS = {
  worker: WORKER,
  cell: "c5.7",
  server: "c5.7-once",
  end: "--",
  status: "200",
  bytesIn: "152",
  headIn: "147",
  bytesOut: "1345",
  headOut: "111",
  chunked: "-",
  activeMs: "23",
  headMs: "3",
};

describe("haproxy request line: ", () => {
  const request = {
    worker: WORKER,
    cell: "c5.7",
    status: 200,
    bytesIn: 5,
    bytesOut: 1_234,
    wallMs: 20,
  };

  test.each([
    ["a request", {}, {}],
    ["one without a body", { headIn: "-" }, { bytesIn: 0 }],
    ["one whose last chunk came by itself", { chunked: "1" }, { bytesOut: 1_233 }],
    ["one that was cut off before that", { chunked: "1", end: "SD" }, {}],
    ["one that got a page", { end: "PH", status: "500" }, { bytesOut: 0, status: 500 }],
    [
      "one whose cell said nothing",
      { end: "sH", status: "504", headOut: "-" },
      { bytesOut: 0, status: 504 },
    ],
    [
      "one whose client left",
      { end: "CH", status: "400", headOut: "-" },
      { bytesOut: 0, status: 499 },
    ],
    [
      "one that was lost on its way on",
      { server: "lost", end: "CC", status: "503", headOut: "-" },
      { bytesOut: 0, status: 499 },
    ],
    ["a clock that went back", { activeMs: "2" }, { wallMs: 0 }],
  ])("%s", (_, changes, expected) => {
    expect(parseLogLine(line(changes))).toEqual({
      kind: "served",
      request: { ...request, ...expected },
    });
  });

  test("one that was refused had no cell", () => {
    const refused = { cell: "quota", server: "<NOSRV>", end: "PR", status: "429", headOut: "-" };
    expect(parseLogLine(line(refused))).toEqual({
      kind: "refused",
      request: { ...request, cell: undefined, status: 429, bytesOut: 0, isRefused: true },
    });
  });

  test.each([
    [line({ server: "lost" }), { kind: "passed-on" }],
    [line({ worker: "-", cell: "-" }), { kind: "other" }],
    ["Proxy world stopped (cumulated conns: FE: 2, BE: 0).", { kind: "other" }],
    ["1 event dropped", { kind: "dropped", count: 1 }],
    ["2852 events dropped", { kind: "dropped", count: 2_852 }],
    ["", { kind: "other" }],
  ])("%s", (text, expected) => {
    expect(parseLogLine(text)).toEqual(expected);
  });
});

describe("haproxy request log: ", () => {
  let folder: string;
  let log: RequestLog;
  let socket: Socket;
  let told: string[];
  const served: ServedRequest[] = [];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "request-log-"));
    told = [];
    served.length = 0;
    log = await RequestLog.listen({
      socketPath: join(folder, "usage.sock"),
      groupId: undefined,
      socketPathOf: (cell) => (cell === "c5.7" ? "/run/cell.sock" : undefined),
      onServed: (request) => served.push(request),
      log: pino({ level: "info" }, { write: (text) => void told.push(text) }),
    });
    socket = connect(join(folder, "usage.sock"));
    await once(socket, "connect");
  });
  afterEach(async () => {
    socket.destroy();
    await log.close();
    await log.close();
    await rm(folder, { recursive: true });
  });

  test("reads lines in whatever pieces they come, and knows their cells", async () => {
    const text = `${line()}\n${line({ server: "lost" })}\n${line({ cell: "c9.9" })}\n`;
    for (const piece of [text.slice(0, 30), text.slice(30, 200), text.slice(200)]) {
      socket.write(piece);
      await new Promise(setImmediate);
    }
    await waitFor(() => expect(log.count).toBe(3));
    expect(served.map(({ socketPath }) => socketPath)).toEqual(["/run/cell.sock", undefined]);
  });

  test("keeps up with more than fits the kernel's buffer", async () => {
    for (let count = 0; count < 5_000; count += 1) socket.write(`${line()}\n`);
    await waitFor(() => expect(served).toHaveLength(5_000));
  });

  test("says how many requests HAProxy could not tell of, and counts them as told", async () => {
    socket.write(`${line()}\n12 events dropped\n${line()}\n`);
    await waitFor(() => expect(log.count).toBe(14));
    expect(served).toHaveLength(2);
    expect(told.map((text) => JSON.parse(text) as unknown)).toMatchObject([{ requests: 12 }]);
  });

  test("tells of what was refused, and does not count it among the requests of cells", async () => {
    const refused = { cell: "quota", server: "<NOSRV>", end: "PR", status: "429" };
    socket.write(`${line(refused)}\n${line()}\n`);
    await waitFor(() => expect(served).toHaveLength(2));
    expect(served[0]).toMatchObject({ worker: WORKER, isRefused: true, socketPath: undefined });
    expect(log.count).toBe(1);
  });

  test("reads what a process left that has ended", async () => {
    socket.write(`${line()}\n`);
    await waitFor(() => expect(served).toHaveLength(1));
    socket.end(`${line()}\n`.repeat(100));
    await log.close();
    expect(served).toHaveLength(101);
  });

  test("counts anew for a process that was started after another", async () => {
    socket.write(`${line()}\n`);
    await waitFor(() => expect(log.count).toBe(1));
    const next = connect(join(folder, "usage.sock"));
    await once(next, "connect");
    await waitFor(() => expect(log.count).toBe(0));
    next.write(`${line()}\n`);
    socket.write(`${line()}\n`);
    await waitFor(() => expect(served).toHaveLength(3));
    expect(log.count).toBe(1);
    next.destroy();
  });
});
