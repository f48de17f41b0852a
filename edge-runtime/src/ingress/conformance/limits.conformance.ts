import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { Readable } from "node:stream";
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

    beforeAll(async () => {
      harness = await IngressHarness.open(backend);
      await harness.serve((incoming, outgoing) => {
        let bytes = 0;
        incoming.on("data", (piece: Buffer) => (bytes += piece.length));
        // A body that is cut off has no end.
        incoming.on("error", () => undefined);
        incoming.on("end", () => {
          read.push(bytes);
          const lines = answerBytes === 0 ? [] : paddedLines(["content-length: 6"], answerBytes);
          outgoing.sendDate = false;
          outgoing.writeHead(200, lines.flatMap(splitLine));
          outgoing.end("served");
        });
      });
    });
    beforeEach(() => {
      read = [];
      answerBytes = 0;
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
    });

    test.each([
      { bytes: LIMITS.requestHeadBytesMax - 1, status: 200 },
      { bytes: LIMITS.requestHeadBytesMax, status: 200 },
      { bytes: LIMITS.requestHeadBytesMax + 1, status: 431 },
    ])("$bytes bytes of header lines are answered with $status", async ({ bytes, status }) => {
      const lines = [LAST, ...paddedLines([HOST], bytes)].join("\r\n");
      const answer = await harness.exchange(`GET / HTTP/1.1\r\n${lines}\r\n\r\n`);
      expect(answer.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
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
      const request = httpRequest({
        port: harness.port,
        headers: { host: "test.localhost" },
        maxHeaderSize: 2 * LIMITS.cellHeadBytesMax,
        agent: false,
      }).end();
      const [response] = (await once(request, "response")) as [IncomingMessage];
      response.resume();
      expect({
        status: response.statusCode,
        error: response.headers["x-atoll-error"],
      }).toEqual(expected);
    });

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

function* pieces(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= PIECE.length) yield PIECE.subarray(0, left);
}

/** Header lines that have so many bytes together, with their ends: these, and what fills them up. */
function paddedLines(lines: ReadonlyArray<string>, bytes: number): ReadonlyArray<string> {
  const taken = lines.reduce((sum, line) => sum + line.length + 2, 0);
  return [...lines, "x-padding: ".padEnd(bytes - taken - 2, "v")];
}

function splitLine(line: string): [string, string] {
  const [name = "", value = ""] = line.split(": ");
  return [name, value];
}
