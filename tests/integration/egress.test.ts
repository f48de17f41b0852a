import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname } from "node:os";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";
import { joinNode, type ExtraNode } from "../support/extra-node.ts";
import { serveEverywhere } from "../support/serving.ts";
import { upload } from "../support/upload.ts";

// Tries to get out by every means that a worker has, and tells how that went.
const SOURCE = `import { connect } from "cloudflare:sockets";
export default { async fetch(request) {
  const { pathname, searchParams } = new URL(request.url);
  const target = searchParams.get("to");
  try {
    if (pathname === "/fetch") {
      const response = await fetch(target);
      return new Response(response.status + " " + (await response.text()));
    }
    if (pathname === "/websocket") {
      const response = await fetch(target, { headers: { upgrade: "websocket" } });
      return new Response(response.status + " " + (await response.text()));
    }
    if (pathname === "/connect") {
      const socket = connect(target);
      const writer = socket.writable.getWriter();
      await writer.write(new TextEncoder().encode("GET /connect HTTP/1.0\\r\\n\\r\\n"));
      return new Response("connected " + (await new Response(socket.readable).text()));
    }
    return new Response("ready");
  } catch (error) {
    return new Response("threw " + error);
  }
} };`;

let atoll: TestAtoll;
/** A service on this machine that workers must not reach. */
let inside: Server;
let port: number;
let reached: string[];
beforeAll(async () => {
  inside = createServer((request, response) => {
    reached.push(request.url ?? "");
    if (request.url === "/to-address") {
      response.writeHead(302, { location: `http://127.0.0.1:${port}/by-address` });
    }
    response.end("inside");
  });
  inside.listen(0, "127.0.0.1");
  await once(inside, "listening");
  port = (inside.address() as AddressInfo).port;
  atoll = await startAtoll();
  expect((await upload(atoll, { name: "escape", source: SOURCE })).status).toBe(200);
  await serveEverywhere(atoll, "escape", ({ body }) => body === "ready");
});
beforeEach(() => {
  reached = [];
});
afterAll(async () => {
  inside.close();
  await atoll.stop();
});

function attempt(way: string, target: string): string {
  return `/${way}?to=${encodeURIComponent(target)}`;
}

/** Lets the worker try in a region; resolves with what it saw. */
async function escape(way: string, target: string): Promise<string> {
  return (await atoll.get("fra", "escape.localhost", attempt(way, target))).body;
}

describe("a worker's fetch is refused, and the destination never hears of it", () => {
  test.each([
    ["loopback", "127.0.0.1"],
    ["loopback, shortened", "127.1"],
    ["loopback, all of its network", "127.8.9.10"],
    ["loopback in decimal", "2130706433"],
    ["loopback in hexadecimal", "0x7f000001"],
    ["loopback in octal", "0177.0.0.1"],
    ["loopback in parts of each", "0x7f.0.0.01"],
    ["the unspecified address", "0.0.0.0"],
    ["the unspecified address, shortened", "0"],
    ["IPv6 loopback", "[::1]"],
    ["IPv6 loopback, written out", "[0:0:0:0:0:0:0:1]"],
    ["the unspecified IPv6 address", "[::]"],
    ["IPv4 mapped to IPv6", "[::ffff:127.0.0.1]"],
    ["IPv4 mapped to IPv6 in hexadecimal", "[::ffff:7f00:1]"],
    ["IPv4 in IPv6, deprecated", "[::127.0.0.1]"],
    ["IPv4 behind NAT64", "[64:ff9b::7f00:1]"],
    ["IPv4 behind 6to4", "[2002:7f00:1::]"],
    ["localhost", "localhost"],
    ["localhost in capitals", "LOCALHOST"],
    ["localhost with its dot", "localhost."],
    ["a name below localhost", "escape.localhost"],
    ["the name with an account", "user:password@localhost"],
    ["full-width digits", "１２７.0.0.1"],
  ])("to this machine: %s", async (_, host) => {
    const seen = await escape("fetch", `http://${host}:${port}/secret`);
    expect(seen).toMatch(/^403 egress_denied: a worker may not reach '/);
    expect(seen).toMatch(/is (loopback|unspecified|reserved)/);
    expect(reached).toEqual([]);
  });

  test.each([
    ["a private network", "10.0.0.1", "private"],
    ["the second private network", "172.16.0.1", "private"],
    ["its other end", "172.31.255.254", "private"],
    ["the third private network", "192.168.1.1", "private"],
    ["a private IPv6 network", "[fd00::1]", "private"],
    ["a private address mapped to IPv6", "[::ffff:10.0.0.1]", "private"],
    ["the metadata of a cloud", "169.254.169.254", "link-local"],
    ["the metadata in decimal", "2852039166", "link-local"],
    ["the metadata mapped to IPv6", "[::ffff:a9fe:a9fe]", "link-local"],
    ["the metadata over IPv6", "[fd00:ec2::254]", "private"],
    ["the metadata of a cloud at a public address", "168.63.129.16", "cloud metadata"],
    ["a link-local IPv6 address", "[fe80::1]", "link-local"],
    ["a network of carriers", "100.64.0.1", "carrier-grade NAT"],
    ["a group of machines", "224.0.0.1", "multicast"],
    ["every machine", "255.255.255.255", "multicast"],
    ["an address of documents", "192.0.2.1", "reserved"],
  ])("to the network: %s", async (_, host, addressClass) => {
    const seen = await escape("fetch", `http://${host}/latest/meta-data/`);
    expect(seen).toMatch(/^403 egress_denied: /);
    expect(seen).toContain(`is ${addressClass}`);
  });

  test("by the name that this machine has for itself", async () => {
    const seen = await escape("fetch", `http://${hostname()}:${port}/secret`);
    // Where the name resolves, it is to an address that is refused.
    expect(seen).toMatch(/^(403 egress_denied|502 egress_unreachable)/);
    expect(reached).toEqual([]);
  });

  test("to the control plane and the nodes themselves", async () => {
    for (const url of [atoll.url, ...Object.values(atoll.regions).map(({ url }) => url)]) {
      expect(await escape("fetch", `${url}/`)).toMatch(/^403 egress_denied/);
    }
  });

  test("over https, to the port of mail, and with another scheme", async () => {
    expect(await escape("fetch", `https://127.0.0.1:${port}/`)).toMatch(/egress_denied/);
    expect(await escape("fetch", "http://198.41.0.4:25/")).toMatch(/egress_denied: .*port 25/);
    expect(await escape("fetch", "file:///etc/passwd")).toMatch(/^threw TypeError/);
    expect(await escape("fetch", "unix:/run/egress.sock")).toMatch(/^threw /);
    expect(reached).toEqual([]);
  });
});

test("WebSockets and connect() are judged like fetch", async () => {
  for (const host of ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"]) {
    expect(await escape("websocket", `http://${host}:${port}/secret`)).toMatch(/egress_denied/);
    expect(await escape("connect", `${host}:${port}`)).toMatch(/^threw /);
  }
  expect(reached).toEqual([]);
});

describe("a node that allows a host by name", () => {
  let node: ExtraNode;
  beforeAll(async () => {
    node = await joinNode(atoll, {
      name: "ams",
      arguments: ["--egress-allow", `localhost:${port}`],
    });
  });
  afterAll(() => node.stop());

  const fromNode = async (target: string): Promise<string> =>
    (await node.get("escape", target)).body;

  test("lets workers reach it there, by every means", async () => {
    const url = `http://localhost:${port}/allowed`;
    expect(await fromNode(attempt("fetch", url))).toBe("200 inside");
    expect(await fromNode(attempt("connect", `localhost:${port}`))).toMatch(
      /^connected HTTP\/1\.\d 200 OK[^]*inside$/,
    );
    expect(reached).toEqual(["/allowed", "/connect"]);
  });

  test("still judges other ports, other names and the address itself", async () => {
    const refused = [
      `http://localhost:${port + 1}/`,
      `http://a.localhost:${port}/`,
      `http://127.0.0.1:${port}/`,
      `http://[::ffff:127.0.0.1]:${port}/`,
      atoll.url,
    ];
    for (const url of refused) {
      expect(await fromNode(attempt("fetch", url)), url).toMatch(/^403 egress_denied/);
    }
    expect(reached).toEqual([]);
  });

  test("judges where a redirect leads", async () => {
    const url = `http://localhost:${port}/to-address`;
    expect(await fromNode(attempt("fetch", url))).toMatch(/^403 egress_denied/);
    expect(reached).toEqual(["/to-address"]);
  });

  test("changes nothing for the other nodes", async () => {
    expect(await escape("fetch", `http://localhost:${port}/`)).toMatch(/^403 egress_denied/);
    expect(reached).toEqual([]);
  });
});
