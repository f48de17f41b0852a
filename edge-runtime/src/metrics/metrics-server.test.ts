import pino from "pino";
import { afterEach, expect, test } from "vitest";
import { MetricsServer } from "./metrics-server.ts";

const log = pino({ level: "silent" });
const servers: MetricsServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function open(text: () => Promise<string> = async () => "up 1\n"): Promise<MetricsServer> {
  const server = await MetricsServer.listen({ port: 0, contentType: "text/plain", text, log });
  servers.push(server);
  return server;
}

test("metrics server: answers at /metrics and nowhere else, and changes nothing", async () => {
  const { url } = await open();
  const answer = await fetch(url);
  expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "text/plain"]);
  expect(await answer.text()).toBe("up 1\n");
  expect((await fetch(`${url}?target=1`)).status).toBe(200);
  expect((await fetch(url, { method: "HEAD" })).status).toBe(200);
  expect((await fetch(url, { method: "POST" })).status).toBe(405);
  expect((await fetch(new URL("/", url))).status).toBe(404);
  expect(new URL(url).hostname).toBe("127.0.0.1");
});

test("metrics server: says so when it can't read what it should tell", async () => {
  let isReadable = false;
  const { url } = await open(async () => {
    if (!isReadable) throw new Error("unreadable");
    return "up 1\n";
  });
  expect((await fetch(url)).status).toBe(500);
  isReadable = true;
  expect((await fetch(url)).status).toBe(200);
});

test("metrics server: a port that is taken is refused by its number", async () => {
  const { url } = await open();
  const port = Number(new URL(url).port);
  const second = MetricsServer.listen({ port, contentType: "", text: async () => "", log });
  await expect(second).rejects.toMatchObject({
    code: "metrics_unavailable",
    message: expect.stringContaining(String(port)),
  });
});

test("metrics server: is gone when it is closed, which may be twice", async () => {
  const server = await open();
  const { url } = server;
  await server.close();
  await server.close();
  await expect(fetch(url)).rejects.toThrow();
});
