import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { request as httpRequest } from "node:http";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type IngressBackend,
  IngressHarness,
  readUntil,
  until,
  within,
} from "./ingress-harness.ts";

const MIB = 1024 * 1024;
// What kernel and stream buffers along the way may hold of a body that nobody reads.
const BUFFERED_BYTES_MAX = 8 * MIB;

export function describeStreaming(backend: IngressBackend): void {
  describe("bodies", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(() => harness.dispose());

    test("travel while they are made, in both directions at once", async () => {
      await harness.serve((request, response) => {
        // Each piece is answered at once: nothing would move if either side were collected first.
        request.on("data", (piece: Buffer) => response.write(`got ${piece.toString()};`));
        request.on("end", () => response.end());
      });
      const socket = await harness.dial();
      socket.write(head("POST", { headers: "transfer-encoding: chunked" }));
      socket.write("3\r\none\r\n");
      await readUntil(socket, (text) => text.includes("got one;"));
      socket.write("3\r\ntwo\r\n0\r\n\r\n");
      const rest = await readUntil(socket, (text) => text.endsWith("0\r\n\r\n"));
      expect(rest).toContain("got two;");
    });

    test("wait for a client that does not read", async () => {
      let written = 0;
      await harness.serve((_, response) => {
        const source = Readable.from(pieces(64));
        source.on("data", (piece: Buffer) => {
          written += piece.length;
        });
        source.pipe(response);
      });
      const request = httpRequest({ port: harness.port, headers: { host: "test.localhost" } });
      request.end();
      const [response] = (await once(request, "response")) as [IncomingMessage];
      await settled(() => written);
      expect(written).toBeLessThan(BUFFERED_BYTES_MAX);
      let received = 0;
      for await (const piece of response) received += (piece as Buffer).length;
      expect(received).toBe(64 * MIB);
    });

    test("wait for a cell that does not read", async () => {
      const { promise: arrived, resolve } =
        Promise.withResolvers<[IncomingMessage, ServerResponse]>();
      await harness.serve((request, response) => resolve([request, response]));
      let sent = 0;
      const body = Readable.from(pieces(64));
      body.on("data", (piece: Buffer) => {
        sent += piece.length;
      });
      const answer = harness.call({ method: "POST", body });
      const [request, response] = await arrived;
      await settled(() => sent);
      expect(sent).toBeLessThan(BUFFERED_BYTES_MAX);
      let received = 0;
      request.on("data", (piece: Buffer) => {
        received += piece.length;
      });
      request.on("end", () => response.end(String(received)));
      expect((await answer).text).toBe(String(64 * MIB));
    });

    test.each([
      ["with a length", true],
      ["chunked", false],
    ])("of 20 MiB come back from a worker as they were, %s", async (_, hasLength) => {
      await harness.serveWorker(
        `export default { fetch: (request) => new Response(request.body, {
          headers: { "x-length": request.headers.get("content-length") ?? "none" } }) }`,
      );
      const body = randomBytes(20 * MIB);
      const answer = await harness.call({
        method: "PUT",
        body: Readable.from(slices(body)),
        headers: hasLength ? { "content-length": body.length } : {},
      });
      expect(answer.headers["x-length"]).toBe(hasLength ? String(body.length) : "none");
      expect(sha256(answer.body)).toBe(sha256(body));
    });

    test("that may not be there are not: HEAD, 204 and 304 keep the connection usable", async () => {
      await harness.serve((request, response) => {
        const status = Number(request.url?.slice(1));
        response.writeHead(status, { "content-length": status === 204 ? 0 : 5 });
        response.end(request.method === "HEAD" || status !== 200 ? undefined : "hello");
      });
      const socket = await harness.dial();
      for (const [method, status] of [
        ["HEAD", 200],
        ["GET", 204],
        ["GET", 304],
        ["GET", 200],
      ] as const) {
        socket.write(`${method} /${status} HTTP/1.1\r\nhost: test.localhost\r\n\r\n`);
        const end = method === "GET" && status === 200 ? "\r\n\r\nhello" : "\r\n\r\n";
        const text = await readUntil(socket, (all) => all.endsWith(end));
        expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      }
    });

    test("end with their trailers", async () => {
      await harness.serve((_, response) => {
        response.writeHead(200, { trailer: "x-checksum" });
        response.write("body");
        response.addTrailers({ "x-checksum": "abc" });
        response.end();
      });
      const answer = await harness.call();
      expect(answer.text).toBe("body");
      expect(answer.trailers["x-checksum"]).toBe("abc");
    });

    test("with trailers of the client's arrive whole", async () => {
      await harness.serve((request, response) => request.pipe(response));
      const socket = await harness.dial();
      socket.write(head("POST", { headers: "transfer-encoding: chunked\r\ntrailer: x-t" }));
      socket.write("4\r\nbody\r\n0\r\nx-t: 1\r\n\r\n");
      const answer = await readUntil(socket, (text) => text.endsWith("0\r\n\r\n"));
      expect(answer).toContain("4\r\nbody\r\n");
    });

    test("are sent on 100 Continue", async () => {
      await harness.serve((request, response) => request.pipe(response));
      const socket = await harness.dial();
      socket.write(head("POST", { headers: "content-length: 4\r\nexpect: 100-continue" }));
      const interim = await readUntil(socket, (text) => text.endsWith("\r\n\r\n"));
      expect(interim).toMatch(/^HTTP\/1.1 100 /);
      socket.write("body");
      const answer = await readUntil(socket, (text) => text.endsWith("0\r\n\r\n"));
      expect(answer).toContain("4\r\nbody\r\n");
    });

    test("are sent on 100 Continue also when the answer begins before they come", async () => {
      // Both heads leave the cell in one piece.
      await harness.serveWorker(
        `export default { fetch: (request) => new Response(request.body) }`,
      );
      const body = "x".repeat(BUFFERED_BYTES_MAX);
      const socket = await harness.dial();
      socket.write(
        head("POST", { headers: `content-length: ${body.length}\r\nexpect: 100-continue` }),
      );
      const interim = await readUntil(socket, (text) => text.includes("\r\n\r\n"));
      expect(interim).toMatch(/^HTTP\/1.1 100 /);
      const answer = readUntil(socket, (text) => text.length >= body.length);
      socket.write(body);
      await answer;
    });

    test("are not asked for when nobody wants them", async () => {
      const answer = await harness.exchange(
        "POST / HTTP/1.1\r\nhost: unknown.localhost\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n",
      );
      expect(answer).toMatch(/^HTTP\/1.1 404 /);
    });

    test("go to a client of HTTP/1.0 without chunks", async () => {
      await harness.serve((_, response) => {
        response.write("in ");
        response.end("pieces");
      });
      const answer = await harness.exchange("GET / HTTP/1.0\r\nhost: test.localhost\r\n\r\n");
      expect(answer).toMatch(/\r\n\r\nin pieces$/);
    });

    test("may be answered before they are complete, and the connection goes on", async () => {
      await harness.serve((request, response) => {
        response.end(request.method === "POST" ? "enough" : "next");
      });
      const socket = await harness.dial();
      socket.write(`${head("POST", { headers: `content-length: ${4 * MIB}` })}${"x".repeat(MIB)}`);
      await readUntil(socket, (text) => text.endsWith("enough"));
      socket.write("x".repeat(3 * MIB));
      socket.write("GET / HTTP/1.1\r\nhost: test.localhost\r\n\r\n");
      const next = await readUntil(socket, (text) => text.endsWith("next"));
      expect(next).toMatch(/^HTTP\/1.1 200 /);
    });
  });

  describe("sides that go away", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(() => harness.dispose());

    test.each([
      ["reset", "/wait"],
      ["end", "/wait"],
      ["reset", "/stream"],
      ["end", "/stream"],
    ] as const)(
      "a client that leaves (%s) aborts request.signal in the worker at %s",
      async (way, path) => {
        await harness.serveWorker(SIGNAL_WORKER);
        const socket = await harness.dial();
        socket.write(head("GET", { path }));
        socket.resume();
        const heard = async (word: string): Promise<string> => {
          let text = "";
          while (!text.includes(word)) text = (await harness.call({ path: "/log" })).text;
          return text;
        };
        await within(heard("begun"), "the worker to begin");
        if (way === "reset") socket.resetAndDestroy();
        else socket.destroy();
        expect(await within(heard("aborted"), "the worker to hear of it")).toBe("begun,aborted");
      },
    );

    test("a client that leaves before any answer is noticed by the cell", async () => {
      let isGone = false;
      await harness.serve((request) => {
        request.socket.once("close", () => {
          isGone = true;
        });
        socket.destroy();
      });
      const socket = await harness.dial();
      socket.write(head("GET"));
      await until(() => isGone, "the cell's connection to be closed");
      expect((await harness.ingress.counters()).errors).toBe(0);
    });

    test("a client that leaves in the middle of its body is noticed by the cell", async () => {
      let isAborted = false;
      await harness.serve((request) => {
        request.on("error", () => {
          isAborted = true;
        });
        request.once("data", () => socket.destroy());
      });
      const socket = await harness.dial();
      socket.write(`${head("POST", { headers: "content-length: 100" })}some`);
      await until(() => isAborted, "the cell's request to be aborted");
      expect((await harness.ingress.counters()).errors).toBe(0);
    });

    test("a client that only ends its sending side still gets the answer", async () => {
      await harness.serve((_, response) => {
        setTimeout(() => response.end("to the end"), 50);
      });
      const socket = await harness.dial();
      const answer = readUntil(socket, (text) => text.endsWith("to the end"));
      socket.end(head("GET"));
      expect(await answer).toMatch(/^HTTP\/1.1 200 /);
    });

    test("a cell that dies within its answer leaves no answer that looks whole", async () => {
      await harness.serve((request, response) => {
        response.write("half");
        setTimeout(() => request.socket.destroy(), 20);
      });
      await expect(harness.call()).rejects.toThrow(/aborted|hang up|ECONNRESET/);
    });

    test("a cell's answer with less than its length is cut off, not completed", async () => {
      await harness.serve((request, response) => {
        response.writeHead(200, { "content-length": 100 });
        response.write("half");
        setTimeout(() => request.socket.end(), 20);
      });
      await expect(harness.call()).rejects.toThrow(/aborted|hang up|ECONNRESET/);
    });
  });
}

/** Notes when a request began and when its signal was aborted. */
const SIGNAL_WORKER = `
const log = [];
export default { async fetch(request, env, ctx) {
  const path = new URL(request.url).pathname;
  if (path === "/log") return new Response(log.join());
  log.push("begun");
  request.signal.addEventListener("abort", () => log.push("aborted"));
  if (path === "/wait") return scheduler.wait(60_000);
  const { readable, writable } = new TransformStream();
  const writer = writable.getWriter();
  const pump = async () => {
    for (;;) {
      await writer.write(new TextEncoder().encode("piece"));
      await scheduler.wait(20);
    }
  };
  ctx.waitUntil(pump().catch(() => {}));
  return new Response(readable);
} }`;

function head(
  method: string,
  { headers = "x-none: 1", path = "/" }: { readonly headers?: string; readonly path?: string } = {},
): string {
  return `${method} ${path} HTTP/1.1\r\nhost: test.localhost\r\n${headers}\r\n\r\n`;
}

function* pieces(countMib: number): Generator<Buffer> {
  for (let index = 0; index < countMib * 16; index += 1) yield Buffer.alloc(MIB / 16, index);
}

function* slices(body: Buffer): Generator<Buffer> {
  for (let offset = 0; offset < body.length; offset += 50_000) {
    yield body.subarray(offset, offset + 50_000);
  }
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Waits until a number has stopped growing. */
async function settled(read: () => number): Promise<void> {
  let before = -1;
  const poll = async (): Promise<void> => {
    while (read() !== before || before === 0) {
      before = read();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  await within(poll(), "the stream to stand still");
}
