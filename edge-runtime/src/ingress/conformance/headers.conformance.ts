import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EdgeError } from "../../errors.ts";
import { type IngressBackend, IngressHarness, worker } from "./ingress-harness.ts";

// Each is one by which a client could pretend to be somebody else, or to be the ingress.
const FORGED = [
  "cf-connecting-ip",
  "CF-Ray",
  "cf-ipcountry",
  "cf-visitor",
  "cf-worker",
  "cf-anything",
  "x-atoll-cf",
  "X-Atoll-Cold",
  "x-real-ip",
  "X-Forwarded-For",
  "x-forwarded-proto",
  "x-forwarded-host",
];

const WANTS_SWITCH = [
  "connection: upgrade",
  "upgrade: websocket",
  "sec-websocket-version: 13",
  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
].join("\r\n");

export function describeHeaders(backend: IngressBackend): void {
  describe("headers", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(() => harness.dispose());

    test("tell the worker who called, and nothing that the client forged", async () => {
      await harness.serve((request, response) => {
        response.end(JSON.stringify(request.rawHeaders));
      });
      const forged = FORGED.flatMap((name) => [name, "forged"]);
      const answer = await harness.call({ rawHeaders: ["host", "test.localhost", ...forged] });
      expect(answer.text).not.toContain("forged");
      const seen = Object.fromEntries(pairs(JSON.parse(answer.text) as string[]));
      expect(seen).toMatchObject({
        "cf-connecting-ip": "127.0.0.1",
        "x-forwarded-proto": "http",
      });
      expect(seen["cf-ray"]).toMatch(/^[0-9a-f]{16}-fra$/);
      expect(answer.headers["cf-ray"]).toBe(seen["cf-ray"]);
      const next = await harness.call();
      expect(next.headers["cf-ray"]).not.toBe(answer.headers["cf-ray"]);
    });

    test("become request.cf in the cell", async () => {
      await harness.serveWorker(
        `export default { fetch: (request) => Response.json(
          { cf: request.cf, blob: request.headers.get("x-atoll-cf"), url: request.url,
            protocol: request.headers.get("x-forwarded-proto") }) }`,
      );
      const answer = await harness.call({
        path: "/x",
        headers: { "accept-encoding": "br", "x-atoll-cf": '{"colo":"EVIL"}' },
      });
      expect(JSON.parse(answer.text)).toMatchObject({
        cf: { colo: "FRA", httpProtocol: "HTTP/1.1", clientAcceptEncoding: "br" },
        blob: null,
        url: "http://test.localhost/x",
        protocol: "http",
      });
    });

    test("pass with their order and repetition, in both directions", async () => {
      await harness.serve((request, response) => {
        response.writeHead(200, [
          ["X-Seen", request.rawHeaders.join("|")],
          ["Set-Cookie", "a=1; Path=/"],
          ["X-Between", "1"],
          ["set-cookie", "b=2"],
        ] as unknown as string[]);
        response.end();
      });
      const sent = ["X-Second", "2", "x-first", "1", "X-Second", "3", "Cookie", "c=d"];
      const answer = await harness.call({ rawHeaders: ["Host", "test.localhost", ...sent] });
      const adjust = (name: string): string =>
        backend.keepsHeaderCase ? name : name.toLowerCase();
      const seen = pairs((answer.headers["x-seen"] as string).split("|"))
        .filter(([name]) => /^(x-second|x-first|cookie)$/i.test(name))
        .flatMap(([name, value]) => [adjust(name), value]);
      expect(seen).toEqual(sent.map((part, index) => (index % 2 === 0 ? adjust(part) : part)));
      const received = pairs(answer.rawHeaders)
        .filter(([name]) => /^(set-cookie|x-between)$/i.test(name))
        .map(([, value]) => value);
      expect(received).toEqual(["a=1; Path=/", "1", "b=2"]);
    });

    test("of a connection go no further, nor do those that it lists", async () => {
      await harness.serve((request, response) => {
        response.writeHead(200, { "x-private": "1", connection: "close, x-private" });
        response.end(Object.keys(request.headers).join(" "));
      });
      const answer = await harness.call({
        headers: {
          connection: "close, x-own, host, content-length",
          "x-own": "1",
          "x-kept": "1",
          "keep-alive": "timeout=5",
          te: "trailers",
          "proxy-connection": "keep-alive",
        },
      });
      const names = answer.text.split(" ");
      expect(names).toContain("x-kept");
      expect(names).toContain("host");
      for (const gone of ["x-own", "keep-alive", "te", "proxy-connection"]) {
        expect(names).not.toContain(gone);
      }
      expect(answer.headers["x-private"]).toBeUndefined();
    });

    test.each([
      ["a request", "x-plain: 1"],
      ["a handshake that is declined", WANTS_SWITCH],
    ])("and the words of a status keep their bytes: of the answer to %s", async (_, lines) => {
      await harness.serveWorker(
        `export default { fetch: () => new Response("served", {
          statusText: "Vorübergehend – 一時的", headers: { "x-where": "Zürich – 東京" } }) }`,
      );
      const answer = await harness.exchange(
        `GET / HTTP/1.1\r\nhost: test.localhost\r\nconnection: close\r\n${lines}\r\n\r\n`,
      );
      const text = Buffer.from(answer, "latin1").toString();
      expect(text).toMatch(/^HTTP\/1.1 200 Vorübergehend – 一時的\r\n/);
      expect(text).toContain("x-where: Zürich – 東京\r\n");
      expect(text).toMatch(/\r\n\r\nserved$/);
    });

    test("of the ingress are never the worker's to set", async () => {
      await harness.serve((_, response) => {
        response.writeHead(200, {
          server: "forged",
          "cf-ray": "forged",
          "x-atoll-cold": "0",
          "x-atoll-error": "forged",
        });
        response.end();
      });
      const answer = await harness.call();
      expect(answer.headers.server).toBe("atoll");
      expect(answer.headers["cf-ray"]).toMatch(/^[0-9a-f]{16}-fra$/);
      expect(answer.headers["x-atoll-cold"]).toBeUndefined();
      expect(answer.headers["x-atoll-error"]).toBeUndefined();
    });
  });

  describe("answers for workers that cannot", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
      harness.ingress.setRoutes([{ pattern: "test.localhost/*", worker: worker("test") }]);
    });
    afterEach(() => harness.dispose());

    test("a cold worker's request waits for it and says how long, later ones do not", async () => {
      const cell = await harness.startCell((_, response) => response.end("warm now"));
      harness.activate = async (key) => {
        harness.ingress.publish(key, [cell.socketPath]);
        return { socketPath: cell.socketPath, coldMs: 17 };
      };
      const first = await harness.call({ method: "POST", body: "kept while it waits" });
      expect(first.headers["x-atoll-cold"]).toBe("17");
      expect(first.text).toBe("warm now");
      const second = await harness.call();
      expect(second.headers["x-atoll-cold"]).toBeUndefined();
      harness.ingress.publish(worker("test"), []);
      expect((await harness.call()).headers["x-atoll-cold"]).toBe("17");
    });

    test.each([
      ["queue_full", 503, "1200", "1"],
      ["cell_start_timeout", 503, "1102", "1"],
      ["cell_backoff", 503, "1101", "1"],
      ["cell_failed", 502, "1101", undefined],
      ["worker_unknown", 404, "404", undefined],
    ] as const)("%s: %s, code %s, retry-after %s", async (code, status, number, retryAfter) => {
      harness.activate = () => Promise.reject(new EdgeError(code, "a reason for the log alone"));
      const answer = await harness.call();
      expect(answer.status).toBe(status);
      expect(answer.text).toContain(`error code: ${number}`);
      expect(answer.text).toContain(answer.headers["cf-ray"]);
      expect(answer.text).not.toContain("for the log");
      expect(answer.headers["x-atoll-error"]).toBe(code);
      expect(answer.headers["retry-after"]).toBe(retryAfter);
      const page = await harness.call({ headers: { accept: "text/html" } });
      expect(page.text).toContain(`Error ${number}`);
    });

    test("a worker that throws: 500, code 1101, and a worker's own 500 passes", async () => {
      await harness.serveWorker(
        `export default { fetch(request) {
          if (new URL(request.url).pathname === "/own") {
            return new Response("Internal Server Error", { status: 500 });
          }
          throw new Error("secret detail");
        } }`,
      );
      const thrown = await harness.call();
      expect(thrown.status).toBe(500);
      expect(thrown.text).toContain("error code: 1101");
      expect(thrown.text).not.toContain("secret");
      const head = await harness.call({ method: "HEAD" });
      expect(head.headers["x-atoll-error"]).toBe("worker_threw");
      const handshake = await harness.exchange(
        `GET / HTTP/1.1\r\nhost: test.localhost\r\n${WANTS_SWITCH}\r\n\r\n`,
      );
      expect(handshake).toMatch(/^HTTP\/1.1 500 [^]*x-atoll-error: worker_threw\r\n/);
      expect(handshake).toContain("error code: 1101");
      const own = await harness.call({ path: "/own" });
      expect(own.text).toBe("Internal Server Error");
      expect(own.headers["x-atoll-error"]).toBeUndefined();
    });

    test("a page never shows a host as markup", async () => {
      const answer = await harness.exchange(
        "GET / HTTP/1.1\r\nhost: <script>alert(1)</script>\r\naccept: text/html\r\n\r\n",
      );
      expect(answer).toMatch(/^HTTP\/1.1 400 /);
      expect(answer).not.toContain("<script>");
    });
  });
}

function pairs(raw: ReadonlyArray<string>): Array<[string, string]> {
  return raw.flatMap((part, index) =>
    index % 2 === 0 ? [[part, raw[index + 1] ?? ""] as [string, string]] : [],
  );
}
