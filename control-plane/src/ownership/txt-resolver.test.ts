import { createSocket } from "node:dgram";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { DnsServer } from "../test-support/dns-server.ts";
import { DnsTxtResolver } from "./txt-resolver.ts";

const NAME = "_atoll-challenge.example.com";

let server: DnsServer;
let resolver: DnsTxtResolver;
beforeEach(async () => {
  server = await DnsServer.start();
  resolver = new DnsTxtResolver([server.address]);
});
afterEach(() => server.close());

test("TXT resolver: texts of several pieces and records come whole", async () => {
  const long = "long ".repeat(70);
  server.setTexts(NAME, "one", long, "");
  expect(await resolver.resolve(NAME)).toEqual(["one", long, ""]);
});

test("TXT resolver: what is cut over UDP is asked for over TCP", async () => {
  const texts = Array.from({ length: 40 }, (_, index) => `${index} ${"x".repeat(200)}`);
  server.setTexts(NAME, ...texts);
  expect(await resolver.resolve(NAME)).toEqual(texts);
  expect(server.questions).toEqual([`udp ${NAME}`, `tcp ${NAME}`]);
});

test("TXT resolver: the largest answer that there can be comes whole", async () => {
  const texts = Array.from({ length: 3_600 }, () => "12345");
  server.setTexts(NAME, ...texts);
  expect(await resolver.resolve(NAME)).toEqual(texts);
});

test("TXT resolver: a name that does not exist, or has no such records, has none", async () => {
  expect(await resolver.resolve(NAME)).toEqual([]);
  server.setTexts(NAME);
  expect(await resolver.resolve(NAME)).toEqual([]);
});

test.each([
  ["answered SERVFAIL", { kind: "failure", code: 2 }],
  ["refused to answer", { kind: "failure", code: 5 }],
  ["does not know TXT records", { kind: "failure", code: 4 }],
] as const)("TXT resolver: a server that %s is told as such", async (words, answer) => {
  server.set(NAME, answer);
  await expect(resolver.resolve(NAME)).rejects.toMatchObject({
    code: "domain_lookup_failed",
    message: expect.stringMatching(new RegExp(`${NAME} can't be looked up now.*${words}`)),
  });
});

test("TXT resolver: an answer that is none fails the look-up, within its bound", async () => {
  server.set(NAME, { kind: "garbage" });
  const failing = resolver.resolve(NAME);
  await expect(failing).rejects.toMatchObject({ code: "domain_lookup_failed" });
});

test("TXT resolver: servers that say nothing are given up within the bound", async () => {
  const silent = createSocket("udp4").bind(0, "127.0.0.1");
  await once(silent, "listening");
  // Several such servers are asked one after the other, and all of that is bounded as a whole.
  server.set(NAME, { kind: "silence" });
  const others = [`127.0.0.1:${silent.address().port}`, server.address];
  const startedAt = performance.now();
  const asked = new DnsTxtResolver([...others, ...others, ...others]).resolve(NAME);
  await expect(asked).rejects.toMatchObject({ code: "domain_lookup_failed" });
  expect(performance.now() - startedAt).toBeLessThan(LIMITS.domainLookupMs + 2_000);
  silent.close();
}, 20_000);

test("TXT resolver: where no server is, the look-up fails", async () => {
  const nowhere = await DnsServer.start();
  const { address } = nowhere;
  await nowhere.close();
  const failing = new DnsTxtResolver([address]).resolve(NAME);
  await expect(failing).rejects.toMatchObject({ code: "domain_lookup_failed" });
}, 20_000);
