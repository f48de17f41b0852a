import { Agent, get } from "node:http";
import { connect } from "node:net";
import { systemClock } from "@atoll/kv-store";
import { Hono } from "hono";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { limitBody, readJson } from "./body.ts";
import { limitConcurrency } from "./gate.ts";
import type { ApiEnvironment } from "./request-context.ts";
import { HttpServer } from "./server.ts";

let server: HttpServer;
let logged: string[];
beforeEach(async () => {
  logged = [];
  const log = pino({ level: "info" }, { write: (line: string) => logged.push(line) });
  server = await HttpServer.listen({ host: "127.0.0.1", port: 0, log, clock: systemClock });
});
afterEach(() => server.close());

function mount(build: (router: Hono<ApiEnvironment>) => void): void {
  const router = new Hono<ApiEnvironment>();
  build(router);
  server.mount("/api", router);
}

async function call(path: string, init?: RequestInit) {
  const response = await fetch(`${server.url}${path}`, init);
  return { response, body: (await response.json()) as Body };
}

interface Body {
  readonly success: boolean;
  readonly errors: ReadonlyArray<{ readonly code: number; readonly message: string }>;
  readonly messages: ReadonlyArray<string>;
}

describe("http server: ", () => {
  test("an unknown address and a wrong method are told apart, in the envelope", async () => {
    mount((router) => router.get("/known", (context) => context.json({})));
    const unknown = await call("/api/unknown");
    expect(unknown.response.status).toBe(404);
    expect(unknown.body).toMatchObject({ success: false, errors: [{ code: 7_000 }] });
    const method = await call("/api/known", { method: "DELETE" });
    expect(method.response.status).toBe(405);
    expect(method.body.errors[0]).toMatchObject({
      code: 7_001,
      message: "Method DELETE is not available for /api/known",
    });
  });

  test("routers are mounted after the first request too", async () => {
    expect((await fetch(`${server.url}/api/late`)).status).toBe(404);
    mount((router) => router.get("/late", (context) => context.json({})));
    expect((await fetch(`${server.url}/api/late`)).status).toBe(200);
  });

  test("an error of the table is shown, with the request's id to find it by", async () => {
    mount((router) =>
      router.get("/busy", () => {
        throw new ControlPlaneError("busy", "try again");
      }),
    );
    const { response, body } = await call("/api/busy");
    expect(response.status).toBe(503);
    const id = response.headers.get("x-request-id");
    expect(body.messages).toEqual([`error: busy, request: ${id}`]);
    expect(logged.join("")).toContain(id);
  });

  test("an unexpected error is logged with its cause and shown as nothing but internal", async () => {
    mount((router) =>
      router.get("/defect", () => {
        throw new Error("password is hunter2", { cause: new Error("deep reason") });
      }),
    );
    const { response, body } = await call("/api/defect");
    expect(response.status).toBe(500);
    expect(JSON.stringify(body)).not.toContain("hunter2");
    expect(JSON.stringify(body)).not.toMatch(/deep reason|server\.test|node_modules|\bat /);
    expect(body.errors[0]?.code).toBe(10_002);
    expect(logged.join("")).toContain("deep reason");
  });

  test("every answer has headers that tie browsers' hands, unless it says otherwise itself", async () => {
    mount((router) => {
      router.get("/page", (context) => {
        context.header("content-security-policy", "default-src 'self'");
        return context.html("<p>");
      });
      router.get("/defect", () => {
        throw new Error("no");
      });
    });
    for (const path of ["/api/page", "/api/defect", "/api/unknown"]) {
      const { headers } = await fetch(`${server.url}${path}`);
      expect(headers.get("x-request-id"), path).toMatch(/^[0-9a-f-]{36}$/);
      expect(headers.get("x-content-type-options"), path).toBe("nosniff");
      expect(headers.get("x-frame-options"), path).toBe("DENY");
      expect(headers.get("referrer-policy"), path).toBe("no-referrer");
      expect(headers.get("cache-control"), path).toBe("no-store");
      const policy = path === "/api/page" ? "default-src 'self'" : "default-src 'none'";
      expect(headers.get("content-security-policy"), path).toContain(policy);
    }
  });

  test("what is not even HTTP gets no stack trace", async () => {
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    socket.end("NONSENSE\r\n\r\n");
    let answer = "";
    for await (const piece of socket) answer += String(piece);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).not.toMatch(/\bat |Error/);
  });

  test("a body passes at its limit and is refused one byte above, announced or streamed", async () => {
    mount((router) =>
      router.post("/body", limitBody(100), async (context) =>
        context.json({ size: (await context.req.arrayBuffer()).byteLength }),
      ),
    );
    const post = (body: string | ReadableStream) =>
      fetch(`${server.url}/api/body`, { method: "POST", body, duplex: "half" });
    expect((await post("x".repeat(99))).status).toBe(200);
    expect((await post("x".repeat(100))).status).toBe(200);
    expect((await post("x".repeat(101))).status).toBe(413);
    expect((await post(stream("x".repeat(100)))).status).toBe(200);
    expect((await post(stream("x".repeat(101)))).status).toBe(413);
  });

  test("JSON is parsed whatever its content type says, and refused by the path of what is wrong", async () => {
    const schema = z.strictObject({ list: z.array(z.number()) });
    mount((router) =>
      router.post("/json", async (context) => context.json(await readJson(context, schema))),
    );
    const post = (body: string) => call("/api/json", { method: "POST", body });
    expect((await post('{"list":[1]}')).response.status).toBe(200);
    const refused = async (body: string) => (await post(body)).body.errors[0]?.message;
    expect(await refused("{")).toBe("The request's body is not JSON");
    expect(await refused('{"list":[1,"2"]}')).toMatch(/^body: list\.1: /);
    expect(await refused('{"list":[],"more":1}')).toMatch(/more/);
  });

  test("a head over the limit, and a request without Host, are refused", async () => {
    mount((router) => router.get("/known", (context) => context.json({})));
    const long = `x: ${"y".repeat(LIMITS.headBytesMax)}`;
    expect(await raw(`GET /api/known HTTP/1.1\r\nhost: a\r\n${long}\r\n\r\n`)).toMatch(/ 431 /);
    expect(await raw("GET /api/known HTTP/1.1\r\n\r\n")).toMatch(/ 400 /);
    const both = "content-length: 4\r\ntransfer-encoding: chunked";
    expect(await raw(`POST /api/known HTTP/1.1\r\nhost: a\r\n${both}\r\n\r\n0\r\n\r\n`)).toMatch(
      / 400 /,
    );
  });

  test("a gate holds back what is over its bound, and refuses what is over the queue's", async () => {
    const { promise: opened, resolve: open } = Promise.withResolvers<void>();
    let entered = 0;
    mount((router) =>
      router.get(
        "/slow",
        limitConcurrency({ inProgressMax: 2, waitingMax: 1 }),
        async (context) => {
          entered += 1;
          await opened;
          return context.json({});
        },
      ),
    );
    const statuses: number[] = [];
    const calls = Array.from({ length: 4 }, async () => {
      statuses.push((await fetch(`${server.url}/api/slow`)).status);
    });
    await Promise.race(calls);
    expect({ statuses, entered }).toEqual({ statuses: [503], entered: 2 });
    open();
    await Promise.all(calls);
    expect(statuses).toEqual([503, 200, 200, 200]);
    expect((await fetch(`${server.url}/api/slow`)).status).toBe(200);
  });

  test("closing twice is allowed, and a taken port is refused", async () => {
    const port = Number(new URL(server.url).port);
    const log = pino({ level: "silent" });
    const taken = { host: "127.0.0.1", port, log, clock: systemClock };
    await expect(HttpServer.listen(taken)).rejects.toMatchObject({ code: "EADDRINUSE" });
    await server.close();
    await server.close();
  });

  test("a client that never lets its connection rest does not keep it from closing", async () => {
    let closing: Promise<void> | undefined;
    mount((router) =>
      router.get("/known", (context) => {
        // Closed with this request in flight: its connection is not idle, and goes on to be used.
        closing ??= server.close();
        return context.json({});
      }),
    );
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ask = (): Promise<void> =>
      new Promise((resolve, reject) => {
        get(`${server.url}/api/known`, { agent }, (response) => {
          response.resume().on("end", resolve);
        }).on("error", reject);
      });
    await ask();
    await expect(ask()).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await closing;
    agent.destroy();
  });
});

/** Sends bytes as they are and resolves with what came back until the server closed. */
async function raw(request: string): Promise<string> {
  const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
  socket.end(request);
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

function stream(text: string): ReadableStream<Uint8Array> {
  return new Blob([text]).stream();
}
