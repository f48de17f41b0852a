import { once } from "node:events";
import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../../limits.ts";
import { type IngressBackend, IngressHarness } from "./ingress-harness.ts";

// A line about the connection does not go on to the worker, and counts for nothing.
const LAST = "connection: close";
const HOST = "host: test.localhost";
const PIECE = Buffer.alloc(1024 * 1024);

/** Each limit of requests and answers, right below it, at it, and right above. */
export function describeLimits(backend: IngressBackend): void {
  describe("limits", () => {
    let harness: IngressHarness;
    /** Bytes of bodies that the cell has read to their end. */
    let read: number[];
    /** Bytes of header lines that the cell answers with. */
    let answerBytes = 0;
    /** How many lines these are; two when absent. */
    let answerLines: number | undefined;

    beforeAll(async () => {
      harness = await IngressHarness.open(backend);
      await harness.serve((incoming, outgoing) => {
        let bytes = 0;
        incoming.on("data", (piece: Buffer) => (bytes += piece.length));
        // A body that is cut off has no end.
        incoming.on("error", () => undefined);
        incoming.on("end", () => {
          read.push(bytes);
          const first = ["content-length: 6", ...manyLines((answerLines ?? 2) - 2)];
          const lines = answerBytes === 0 ? [] : paddedLines(first, answerBytes);
          outgoing.sendDate = false;
          outgoing.writeHead(200, lines.flatMap(splitLine));
          outgoing.end("served");
        });
      });
    });
    beforeEach(() => {
      read = [];
      answerBytes = 0;
      answerLines = undefined;
    });
    afterAll(() => harness.dispose());

    test.each([
      { bytes: LIMITS.requestUrlBytesMax - 1, status: 200 },
      { bytes: LIMITS.requestUrlBytesMax, status: 200 },
      { bytes: LIMITS.requestUrlBytesMax + 1, status: 414 },
    ])("a URL of $bytes bytes is answered with $status", async ({ bytes, status }) => {
      const url = "/".padEnd(bytes, "u");
      const answer = await harness.exchange(`GET ${url} HTTP/1.1\r\n${HOST}\r\n${LAST}\r\n\r\n`);
      expect(answer.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
      expect(codeOf(answer)).toBe(status === 200 ? undefined : "request_url_too_long");
    });

    test.each([
      { bytes: LIMITS.requestHeadBytesMax - 1, status: 200 },
      { bytes: LIMITS.requestHeadBytesMax, status: 200 },
      { bytes: LIMITS.requestHeadBytesMax + 1, status: 431 },
    ])(
      "$bytes bytes of URL and header lines are answered with $status",
      async ({ bytes, status }) => {
        const lines = [LAST, ...paddedLines([HOST], bytes - 1)].join("\r\n");
        const answer = await harness.exchange(`GET / HTTP/1.1\r\n${lines}\r\n\r\n`);
        expect(answer.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
        expect(codeOf(answer)).toBe(status === 200 ? undefined : "request_head_too_large");
      },
    );

    test.each([
      { bytes: LIMITS.requestHeadBytesMax - 1, status: 200 },
      { bytes: LIMITS.requestHeadBytesMax, status: 200 },
      { bytes: LIMITS.requestHeadBytesMax + 1, status: 431 },
    ])("$bytes bytes of half URL, half lines are answered with $status", async (head) => {
      const url = "/".padEnd(LIMITS.requestHeadBytesMax / 2, "u");
      const lines = [LAST, ...paddedLines([HOST], head.bytes - url.length)].join("\r\n");
      const answer = await harness.exchange(`GET ${url} HTTP/1.1\r\n${lines}\r\n\r\n`);
      expect(answer.slice(0, 12)).toBe(`HTTP/1.1 ${head.status}`);
    });

    test.each([
      { count: LIMITS.headerLinesMax - 1, status: 200 },
      { count: LIMITS.headerLinesMax, status: 200 },
      { count: LIMITS.headerLinesMax + 1, status: 431 },
    ])("$count short header lines are answered with $status", async ({ count, status }) => {
      const lines = [LAST, HOST, ...manyLines(count - 1)].join("\r\n");
      const answer = await harness.exchange(`GET / HTTP/1.1\r\n${lines}\r\n\r\n`);
      expect(answer.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
    });

    test("as many header lines as there may be, at their most bytes, are answered", async () => {
      const many = manyLines(LIMITS.headerLinesMax - 2);
      const lines = [LAST, ...paddedLines([HOST, ...many], LIMITS.requestHeadBytesMax - 1)];
      const answer = await harness.exchange(`GET / HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      expect(answer.slice(0, 12)).toBe("HTTP/1.1 200");
    });

    test.each([
      { bytes: LIMITS.requestBodyBytesMax - 1, status: 200 },
      { bytes: LIMITS.requestBodyBytesMax, status: 200 },
      { bytes: LIMITS.requestBodyBytesMax + 1, status: 413 },
    ])(
      "a body of $bytes bytes, known before or not, is answered with $status",
      async ({ bytes, status }) => {
        const ways = [{ "content-length": bytes }, { "transfer-encoding": "chunked" }];
        for (const headers of ways) expect(await send(bytes, headers)).toBe(status);
        expect(read).toEqual(status === 200 ? [bytes, bytes] : []);
      },
      60_000,
    );

    test.each([
      { bytes: LIMITS.cellHeadBytesMax - 1, status: 200, error: undefined },
      { bytes: LIMITS.cellHeadBytesMax, status: 200, error: undefined },
      { bytes: LIMITS.cellHeadBytesMax + 1, status: 502, error: "answer_head_too_large" },
    ])("an answer with $bytes bytes of header lines is $status", async ({ bytes, ...expected }) => {
      answerBytes = bytes;
      expect(await answer()).toEqual(expected);
    });

    test.each([
      { count: LIMITS.headerLinesMax - 1, status: 200, error: undefined },
      { count: LIMITS.headerLinesMax, status: 200, error: undefined },
      { count: LIMITS.headerLinesMax + 1, status: 502, error: "answer_head_too_large" },
    ])("an answer with $count header lines is $status", async ({ count, ...expected }) => {
      answerBytes = LIMITS.cellHeadBytesMax;
      answerLines = count;
      expect(await answer()).toEqual(expected);
    });

    /** Status and error of the answer to a plain request. */
    async function answer(): Promise<object> {
      const request = httpRequest({
        port: harness.port,
        headers: { host: "test.localhost" },
        maxHeaderSize: 2 * LIMITS.cellHeadBytesMax,
        agent: false,
      }).end();
      const [response] = (await once(request, "response")) as [IncomingMessage];
      response.resume();
      return { status: response.statusCode, error: response.headers["x-atoll-error"] };
    }

    /**
     * Sends a body of so many bytes; resolves with the status. A length that is too much is refused by the head
     * alone: with the body on its way, the end of the connection could overtake the answer.
     */
    async function send(
      bytes: number,
      headers: Readonly<Record<string, string | number>>,
    ): Promise<number> {
      await harness.ingress.settled();
      const outgoing = httpRequest({
        port: harness.port,
        method: "POST",
        agent: false,
        headers: { host: "test.localhost", ...headers },
      });
      const answered = once(outgoing, "response") as Promise<[IncomingMessage]>;
      const isRefusedByHead = Number(headers["content-length"]) > LIMITS.requestBodyBytesMax;
      if (isRefusedByHead) outgoing.flushHeaders();
      else Readable.from(pieces(bytes)).pipe(outgoing);
      const [response] = await answered;
      response.resume();
      // A refused body is cut off.
      outgoing.on("error", () => undefined).destroy();
      return response.statusCode ?? 0;
    }
  });
}

/** How long a cell may send nothing of its answer, here. */
const ANSWER_IDLE_MS = 2_000;
// Far inside, so that a machine that is slow for a while does not make it one outside.
const PAUSE_MS = ANSWER_IDLE_MS / 10;

/** The limit of an answer's pauses, scaled down so that they can be waited for. */
export function describeStalledAnswers(backend: IngressBackend): void {
  describe("an answer that pauses", () => {
    let harness: IngressHarness;
    /** What the cell does with a request. */
    let answer: (response: ServerResponse) => Promise<unknown>;

    beforeAll(async () => {
      harness = await IngressHarness.open(backend, { answerIdleMs: ANSWER_IDLE_MS });
      await harness.serve((_, response) => {
        response.on("error", () => undefined);
        void answer(response);
      });
    });
    afterAll(() => harness.dispose());

    test("for less than it may, again and again, arrives whole", async () => {
      const pieces = Math.ceil((1.5 * ANSWER_IDLE_MS) / PAUSE_MS);
      answer = async (response) => {
        for (let piece = 0; piece < pieces; piece += 1) {
          await wait(PAUSE_MS);
          response.write("x");
        }
        response.end();
      };
      expect(await harness.call()).toMatchObject({ status: 200, text: "x".repeat(pieces) });
    });

    test("for longer before its head is given up with a page", async () => {
      answer = async () => undefined;
      const { status, headers } = await harness.call();
      expect([status, headers["x-atoll-error"]]).toEqual([504, "answer_timeout"]);
    });

    test("for longer in its midst is cut off, and does not look whole", async () => {
      answer = async (response) => response.write("some");
      await expect(harness.call()).rejects.toThrow(/aborted|hang up|ECONNRESET/);
    });
  });
}

/** Of the page that an answer is; of a worker's own answer none. */
function codeOf(answer: string): string | undefined {
  return /\r\nx-atoll-error: (\w+)\r\n/i.exec(answer)?.[1];
}

function* pieces(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= PIECE.length) yield PIECE.subarray(0, left);
}

/** Header lines that have so many bytes together, with their ends: these, and what fills them up. */
function paddedLines(lines: ReadonlyArray<string>, bytes: number): ReadonlyArray<string> {
  const taken = lines.reduce((sum, line) => sum + line.length + 2, 0);
  return [...lines, "x-padding: ".padEnd(bytes - taken - 2, "v")];
}

/** So many short lines. */
function manyLines(count: number): ReadonlyArray<string> {
  return Array.from({ length: count }, (_, index) => `x-${index}: v`);
}

function splitLine(line: string): [string, string] {
  const [name = "", value = ""] = line.split(": ");
  return [name, value];
}
