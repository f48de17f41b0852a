import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EgressPolicy } from "./egress-policy.ts";
import { type EgressListener, EgressProxy } from "./egress-proxy.ts";

const BYTES = 3_000_000;

describe("tunnels", () => {
  let server: Server;
  let serve: (socket: Socket) => void;
  let directory: string;
  let proxy: EgressProxy;
  let listener: EgressListener;
  beforeEach(async () => {
    server = createServer({ allowHalfOpen: true }, (socket) => serve(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    directory = await mkdtemp(join(tmpdir(), "egress-tunnel-"));
    proxy = new EgressProxy({
      log: pino({ level: "silent" }),
      answerMs: 500,
      policy: new EgressPolicy({ allow: [origin()] }),
    });
    listener = await proxy.open(join(directory, "egress.sock"), {
      identity: { cell: "test", workers: [] },
      subrequests: { perRequest: 1_000, requests: async () => ({ begun: 1, inFlight: 1 }) },
    });
  });
  afterEach(async () => {
    await proxy.close();
    server.close();
    await rm(directory, { recursive: true });
  });
  const origin = (): string => `127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function ask(head: string): Promise<Socket> {
    const socket = connect({ path: listener.socketPath, allowHalfOpen: true });
    await once(socket, "connect");
    socket.write(`${head}\r\n\r\n`);
    return socket;
  }

  /** Reads at leisure, as a worker does that waits for something else meanwhile. */
  async function readSlowly(socket: Socket): Promise<number> {
    let bytes = 0;
    await setTimeout(300);
    for await (const chunk of socket) bytes += (chunk as Buffer).length;
    return bytes;
  }

  test("a slow reader gets all that a server sent before it closed", async () => {
    serve = (socket) => {
      socket.resume();
      socket.end(Buffer.alloc(BYTES));
    };
    const socket = await ask(`CONNECT ${origin()} HTTP/1.1`);
    const head = "HTTP/1.1 200 OK\r\n\r\n".length;
    expect((await readSlowly(socket)) - head).toBe(BYTES);
    socket.destroy();
  });

  test("a server that has said all still hears the rest", async () => {
    const heard = Promise.withResolvers<string>();
    serve = (socket) => {
      socket.end("said");
      text(socket).then(heard.resolve, heard.reject);
    };
    const socket = await ask(`CONNECT ${origin()} HTTP/1.1`);
    expect(await text(socket)).toMatch(/said$/);
    socket.end("heard");
    expect(await heard.promise).toBe("heard");
  });

  test("a slow reader gets all that came over a WebSocket before it closed", async () => {
    serve = (socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 101 Switching\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
        socket.end(Buffer.alloc(BYTES));
      });
    };
    const socket = await ask(
      `GET http://${origin()}/ HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket`,
    );
    expect(await readSlowly(socket)).toBeGreaterThan(BYTES);
    socket.destroy();
  });

  test("a server that never answers a WebSocket's handshake is given up", async () => {
    serve = () => undefined;
    const socket = await ask(
      `GET http://${origin()}/ HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket`,
    );
    expect(await text(socket)).toMatch(/^HTTP\/1.1 504 .*egress_timeout/s);
    socket.destroy();
  });
});
