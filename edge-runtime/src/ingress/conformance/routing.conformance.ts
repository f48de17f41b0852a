import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type IngressBackend, IngressHarness, worker } from "./ingress-harness.ts";

export function describeRouting(backend: IngressBackend): void {
  describe("routing", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(() => harness.dispose());

    async function publishEcho(name: string): Promise<void> {
      const cell = await harness.startCell((request, response) => {
        response.end(`${name} ${request.headers.host ?? ""} ${request.url ?? ""}`);
      });
      harness.ingress.publish(worker(name), [cell.socketPath]);
    }

    test("leads each request to the worker of the most specific pattern", async () => {
      await publishEcho("every");
      await publishEcho("below");
      await publishEcho("site");
      await publishEcho("images");
      harness.ingress.setRoutes([
        { pattern: "*/*", worker: worker("every") },
        { pattern: "*.localhost/*", worker: worker("below") },
        { pattern: "site.localhost/*", worker: worker("site") },
        { pattern: "site.localhost/images/*", worker: worker("images") },
      ]);
      const text = async (host: string, path: string): Promise<string> =>
        (await harness.call({ host, path })).text;
      expect(await text("example.com", "/")).toBe("every example.com /");
      expect(await text("other.localhost", "/a")).toBe("below other.localhost /a");
      expect(await text("site.localhost", "/a?b=c")).toBe("site site.localhost /a?b=c");
      expect(await text("site.localhost", "/images/x")).toBe("images site.localhost /images/x");
      // The host as the client wrote it is the worker's to see; case, port and root dot do not route.
      expect(await text("SITE.localhost:4401", "/")).toBe("site SITE.localhost:4401 /");
      expect(await text("site.localhost.", "/")).toBe("site site.localhost. /");
    });

    test("answers an unknown host with a plain 404 page that says so", async () => {
      await publishEcho("site");
      harness.ingress.setRoutes([{ pattern: "site.localhost/*", worker: worker("site") }]);
      const plain = await harness.call({ host: "unknown.localhost" });
      expect(plain.status).toBe(404);
      expect(plain.headers["content-type"]).toMatch(/^text\/plain/);
      expect(plain.text).toContain("unknown.localhost");
      expect(plain.text).toContain("No worker is routed");
      expect(plain.text).toContain(plain.headers["cf-ray"]);
      const html = await harness.call({
        host: "unknown.localhost",
        headers: { accept: "text/html,*/*" },
      });
      expect(html.headers["content-type"]).toMatch(/^text\/html/);
      expect(html.text).toContain("No worker is routed");
    });

    test("replaces all routes at once, and keeps the old ones when a new one is malformed", async () => {
      await publishEcho("one");
      await publishEcho("two");
      harness.ingress.setRoutes([{ pattern: "a.localhost/*", worker: worker("one") }]);
      harness.ingress.setRoutes([{ pattern: "b.localhost/*", worker: worker("two") }]);
      expect((await harness.call({ host: "a.localhost" })).status).toBe(404);
      expect((await harness.call({ host: "b.localhost" })).text).toContain("two");
      expect(() =>
        harness.ingress.setRoutes([
          { pattern: "a.localhost/*", worker: worker("one") },
          { pattern: "a.localhost:80/*", worker: worker("one") },
        ]),
      ).toThrow("port");
      expect((await harness.call({ host: "b.localhost" })).text).toContain("two");
    });

    test("accepts a target in absolute form when it agrees with the host", async () => {
      await publishEcho("site");
      harness.ingress.setRoutes([{ pattern: "site.localhost/*", worker: worker("site") }]);
      const answer = await harness.exchange(
        "GET http://site.localhost/x?y HTTP/1.1\r\nhost: site.localhost\r\nconnection: close\r\n\r\n",
      );
      expect(answer).toContain("site site.localhost /x?y");
    });

    test("counts requests, errors and open connections", async () => {
      await publishEcho("site");
      harness.ingress.setRoutes([
        { pattern: "site.localhost/*", worker: worker("site") },
        { pattern: "broken.localhost/*", worker: worker("broken") },
      ]);
      await harness.call({ host: "site.localhost" });
      await harness.call({ host: "broken.localhost" });
      const socket = await harness.dial();
      socket.write("GET / HTTP/1.1\r\nhost: site.localhost\r\n\r\n");
      await new Promise((resolve) => socket.once("data", resolve));
      expect(await harness.ingress.counters()).toMatchObject({
        requests: 3,
        errors: 1,
        openConnections: 1,
        restarts: 0,
      });
    });
  });
}
