import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  closed,
  type IngressBackend,
  IngressHarness,
  REQUEST_HEAD_MS,
  within,
} from "./ingress-harness.ts";

const HOST = "host: test.localhost";
const KIB = 1024;
// One connection is one descriptor on each side, and the two sides are two processes.
const IDLE_CONNECTIONS = 10_000;

/** Heads that mean different things to different readers, or nothing at all. */
const REFUSED: ReadonlyArray<readonly [name: string, bytes: string]> = [
  [
    "both length headers",
    `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  [
    "both length headers, the other way round",
    `POST / HTTP/1.1\r\n${HOST}\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n`,
  ],
  [
    "two content-lengths",
    `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde`,
  ],
  ["a list as content-length", `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: 4, 5\r\n\r\nabcde`],
  ["a signed content-length", `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: +4\r\n\r\nabcd`],
  ["a negative content-length", `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: -1\r\n\r\n`],
  ["a hexadecimal content-length", `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: 0x4\r\n\r\nabcd`],
  [
    "a content-length past 64 bits",
    `POST / HTTP/1.1\r\n${HOST}\r\ncontent-length: 99999999999999999999999\r\n\r\n`,
  ],
  [
    "an unknown transfer-encoding",
    `POST / HTTP/1.1\r\n${HOST}\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n`,
  ],
  [
    "chunked that is not last",
    `POST / HTTP/1.1\r\n${HOST}\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
  ],
  [
    "chunked twice",
    `POST / HTTP/1.1\r\n${HOST}\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  [
    "a blank before the colon",
    `POST / HTTP/1.1\r\n${HOST}\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n`,
  ],
  ["a folded header", `GET / HTTP/1.1\r\n${HOST}\r\nx-folded: a\r\n b\r\n\r\n`],
  [
    "a folded framing header",
    `POST / HTTP/1.1\r\n${HOST}\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n`,
  ],
  ["NUL in a value", `GET / HTTP/1.1\r\n${HOST}\r\nx-nul: a\0b\r\n\r\n`],
  ["NUL in the path", `GET /\0 HTTP/1.1\r\n${HOST}\r\n\r\n`],
  [
    "a bare carriage return in a value",
    `GET / HTTP/1.1\r\n${HOST}\r\nx-cr: a\rcontent-length: 5\r\n\r\n`,
  ],
  ["a header without a name", `GET / HTTP/1.1\r\n${HOST}\r\n: value\r\n\r\n`],
  ["a header without a colon", `GET / HTTP/1.1\r\n${HOST}\r\nnonsense\r\n\r\n`],
  ["a blank in the path", `GET /a b HTTP/1.1\r\n${HOST}\r\n\r\n`],
  ["no path", `GET HTTP/1.1\r\n${HOST}\r\n\r\n`],
  ["an unknown version", `GET / HTTP/3.7\r\n${HOST}\r\n\r\n`],
  ["no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"],
  ["no host", "GET / HTTP/1.1\r\n\r\n"],
  ["two hosts", `GET / HTTP/1.1\r\n${HOST}\r\nhost: other.localhost\r\n\r\n`],
  ["the same host twice", `GET / HTTP/1.1\r\n${HOST}\r\n${HOST}\r\n\r\n`],
  ["an empty host", "GET / HTTP/1.1\r\nhost:\r\n\r\n"],
  ["a host with a path", "GET / HTTP/1.1\r\nhost: test.localhost/x\r\n\r\n"],
  ["a host with a user", "GET / HTTP/1.1\r\nhost: me@test.localhost\r\n\r\n"],
  ["a host with a comma", "GET / HTTP/1.1\r\nhost: test.localhost, b\r\n\r\n"],
  [
    "a list of hosts that ends with one that is served",
    "GET / HTTP/1.1\r\nhost: b,test.localhost\r\n\r\n",
  ],
  ["a host with an absurd port", "GET / HTTP/1.1\r\nhost: test.localhost:999999\r\n\r\n"],
  ["a port that there is not", "GET / HTTP/1.1\r\nhost: test.localhost:65536\r\n\r\n"],
  ["a host of 300 characters", `GET / HTTP/1.1\r\nhost: ${"a".repeat(300)}\r\n\r\n`],
  ["a target for another host", `GET http://other.localhost/ HTTP/1.1\r\n${HOST}\r\n\r\n`],
  ["a target of another scheme", `GET ftp://test.localhost/ HTTP/1.1\r\n${HOST}\r\n\r\n`],
  ["a target with a fragment", `GET /private#x HTTP/1.1\r\n${HOST}\r\n\r\n`],
  ["a target without a slash", `GET test HTTP/1.1\r\n${HOST}\r\n\r\n`],
  ["CONNECT", `CONNECT test.localhost:80 HTTP/1.1\r\n${HOST}\r\n\r\n`],
];

/** Bodies that break off the framing that their head promised. */
const BAD_CHUNKS: ReadonlyArray<readonly [name: string, bytes: string]> = [
  ["a size that is no number", "zz\r\nabc\r\n0\r\n\r\n"],
  ["a signed size", "+3\r\nabc\r\n0\r\n\r\n"],
  ["a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"],
  ["a size past 64 bits", "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n"],
  ["data longer than its size", "3\r\nabcdef\r\n0\r\n\r\n"],
  ["no line end after data", "3\r\nabcGET / HTTP/1.1\r\n\r\n"],
  ["an extension with a line feed", "3;a\nb\r\nabc\r\n0\r\n\r\n"],
];

export function describeHostile(backend: IngressBackend): void {
  describe("hostile clients", () => {
    let harness: IngressHarness;
    let reached: string[];
    let completed: number;
    beforeEach(async () => {
      reached = [];
      completed = 0;
      harness = await IngressHarness.open(backend);
      await harness.serve((request, response) => {
        reached.push(`${request.method ?? ""} ${request.url ?? ""}`);
        request.resume();
        request.on("end", () => {
          completed += 1;
          response.end("served");
        });
      });
    });
    afterEach(() => harness.dispose());

    // What follows the nonsense must never be served, whoever reads the framing in which way.
    const SMUGGLED = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n\r\n`;

    test.each(REFUSED)("%s: 400, the connection closed, nothing in a cell", async (_, bytes) => {
      // With a connection to the cell at hand, whatever is forwarded is there at once.
      await harness.call({ path: "/before" });
      const answer = await harness.exchange(bytes + SMUGGLED);
      expect(answer).toMatch(/^HTTP\/1.1 400 /);
      expect(answer.match(/HTTP\/1.1 \d/g)).toHaveLength(1);
      expect(answer.toLowerCase()).toContain("connection: close");
      expect(reached).toEqual(["GET /before"]);
    });

    test.each(BAD_CHUNKS)("a chunked body with %s: 400, never complete", async (_, chunks) => {
      const answer = await harness.exchange(
        `POST /first HTTP/1.1\r\n${HOST}\r\ntransfer-encoding: chunked\r\n\r\n${chunks}${SMUGGLED}`,
      );
      expect(answer).toMatch(/^HTTP\/1.1 400 /);
      expect(answer.match(/HTTP\/1.1 \d/g)).toHaveLength(1);
      expect(reached).not.toContain("GET /smuggled");
      expect(completed).toBe(0);
    });

    test.each([
      ["a URL of 20 KiB", `GET /${"u".repeat(20 * KIB)} HTTP/1.1\r\n${HOST}\r\n\r\n`, "414"],
      [
        "one header of 25 KiB",
        `GET / HTTP/1.1\r\n${HOST}\r\nx-large: ${"v".repeat(25 * KIB)}\r\n\r\n`,
        "431",
      ],
      [
        "headers of 25 KiB in all",
        `GET / HTTP/1.1\r\n${HOST}\r\n${`x-small: ${"v".repeat(53)}\r\n`.repeat(400)}\r\n`,
        "431",
      ],
      [
        "a header of 200 KiB",
        `GET / HTTP/1.1\r\n${HOST}\r\nx-large: ${"v".repeat(200 * KIB)}\r\n\r\n`,
        "431",
      ],
    ])("%s: refused", async (_, bytes, status) => {
      const answer = await harness.exchange(bytes);
      expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      expect(reached).toEqual([]);
    });

    test("what follows a request that ends its connection is not read", async () => {
      const first = `GET /first HTTP/1.1\r\n${HOST}\r\nconnection: close\r\n\r\n`;
      const answer = await harness.exchange(first + SMUGGLED);
      expect(answer).toMatch(/^HTTP\/1.1 200 /);
      expect(answer.match(/HTTP\/1.1 \d/g)).toHaveLength(1);
      expect(reached).toEqual(["GET /first"]);
    });

    test.each([
      ["nothing", ""],
      ["half a head", `GET / HTTP/1.1\r\n${HOST}\r\nx-half: `],
    ])("a client that sends %s is let go", async (_, bytes) => {
      const begun = Date.now();
      const answer = await harness.exchange(bytes);
      expect(Date.now() - begun).toBeGreaterThanOrEqual(REQUEST_HEAD_MS - 100);
      expect(answer === "" || answer.startsWith("HTTP/1.1 408 ")).toBe(true);
      expect(reached).toEqual([]);
    });

    test.each([
      ["a proxy", `CONNECT ${HOST.slice(6)}:80 HTTP/1.1\r\n${HOST}\r\n\r\n`],
      ["a WebSocket to nobody's host", handshakeTo("nobody.localhost")],
      ["a WebSocket with a bad head", handshakeTo("test.localhost, b")],
    ])("who asks for %s and resets the connection ends nothing else", async (_, bytes) => {
      const uncaught: unknown[] = [];
      const onUncaught = (error: unknown): void => void uncaught.push(error);
      process.on("uncaughtException", onUncaught);
      const socket = await harness.dial();
      socket.write(bytes);
      socket.once("data", () => socket.resetAndDestroy());
      await closed(socket);
      expect((await harness.call()).text).toBe("served");
      process.off("uncaughtException", onUncaught);
      expect(uncaught).toEqual([]);
    });

    test("a client that sends its head byte by byte is let go", async () => {
      const socket = await harness.dial();
      const head = `GET / HTTP/1.1\r\n${HOST}\r\n${"x-slow: 1\r\n".repeat(1_000)}\r\n`;
      let position = 0;
      const drip = setInterval(() => {
        socket.write(head.charAt(position));
        position += 1;
      }, 5);
      socket.resume();
      await closed(socket);
      clearInterval(drip);
      expect(reached).toEqual([]);
    });

    test("pipelined requests are answered in order", async () => {
      const bytes = ["/1", "/2", "/3"]
        .map((path) => `GET ${path} HTTP/1.1\r\n${HOST}\r\n\r\n`)
        .join("");
      const answer = await harness.exchange(
        `${bytes}GET /4 HTTP/1.1\r\n${HOST}\r\nconnection: close\r\n\r\n`,
      );
      expect(answer.match(/served/g)).toHaveLength(4);
    });

    test("a flood of pipelined requests does not pile up in the cell", async () => {
      await harness.serve((request) => {
        reached.push(request.url ?? "");
      });
      const socket = await harness.dial();
      socket.write(`GET / HTTP/1.1\r\n${HOST}\r\n\r\n`.repeat(2_000));
      socket.resume();
      await closed(socket);
      expect(reached.length).toBeLessThan(100);
    });

    test(`${IDLE_CONNECTIONS} idle connections stop nobody`, { timeout: 60_000 }, async () => {
      const script = fileURLToPath(new URL("idle-connections.ts", import.meta.url));
      const child = spawn(
        process.execPath,
        [script, String(harness.port), String(IDLE_CONNECTIONS)],
        { stdio: ["pipe", "pipe", "inherit"] },
      );
      try {
        const lines = createInterface({ input: child.stdout });
        const [line] = (await within(once(lines, "line"), "the connections", 30_000)) as [string];
        expect(Number(line)).toBe(IDLE_CONNECTIONS);
        for (let count = 0; count < 20; count += 1) {
          const begun = Date.now();
          expect((await harness.call()).text).toBe("served");
          expect(Date.now() - begun).toBeLessThan(1_000);
        }
      } finally {
        const exited = once(child, "exit");
        child.kill("SIGKILL");
        await exited;
      }
    });
  });
}

function handshakeTo(host: string): string {
  const head = ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"];
  const key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
  return `GET / HTTP/1.1\r\nhost: ${host}\r\n${[...head, key].join("\r\n")}\r\n\r\n`;
}
