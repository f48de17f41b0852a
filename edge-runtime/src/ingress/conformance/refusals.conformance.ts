import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { VersionId } from "@atoll/control-plane/contract";
import { LIMITS } from "../../limits.ts";
import { versionTarget } from "../target-key.ts";
import {
  type Answer,
  type IngressBackend,
  IngressHarness,
  readUntil,
  until,
  within,
  worker,
} from "./ingress-harness.ts";

const DAY_SECONDS = 24 * 60 * 60;
const VERSIONS = [
  VersionId.parse("11111111-1111-4111-8111-111111111111"),
  VersionId.parse("22222222-2222-4222-8222-222222222222"),
] as const;
const ECHO = `export default { fetch() {
  const [client, server] = Object.values(new WebSocketPair());
  server.accept();
  server.addEventListener("message", ({ data }) => server.send(data));
  return new Response(null, { status: 101, webSocket: client });
} }`;
const HANDSHAKE = [
  ...["GET / HTTP/1.1", "host: test.localhost", "connection: Upgrade", "upgrade: websocket"],
  ...["sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "", ""],
].join("\r\n");

/** What workers get whose accounts have used up their day. */
export function describeRefusals(backend: IngressBackend): void {
  describe("refused workers", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(() => harness.dispose());

    function refuse(...names: ReadonlyArray<string>): void {
      harness.ingress.refuse(new Set(names.map(worker)));
    }

    function codeOf({ status, headers }: Answer): ReadonlyArray<unknown> {
      return [status, headers["x-atoll-error"]];
    }

    const REFUSED = [429, "day_quota_exceeded"];

    test("answer with a page that says so, as text and for browsers, until they are let in again", async () => {
      let requests = 0;
      await harness.serve((_, response) => {
        requests += 1;
        response.end("served");
      });
      refuse("test");
      const text = await harness.call({ headers: { accept: "*/*" } });
      expect(codeOf(text)).toEqual(REFUSED);
      expect(text.text).toMatch(/^error code: 1027\nDaily limit exceeded: .*00:00 UTC/);
      expect(text.headers["content-type"]).toBe("text/plain; charset=utf-8");
      const leftSeconds = DAY_SECONDS - ((Date.now() / 1_000) % DAY_SECONDS);
      const retryAfter = Number(text.headers["retry-after"]);
      const difference = Math.abs(retryAfter - leftSeconds);
      // On either side of midnight.
      expect(Math.min(difference, DAY_SECONDS - difference)).toBeLessThan(10);
      const html = await harness.call({ headers: { accept: "text/html,*/*" } });
      expect(html.text).toContain("<h1>Daily limit exceeded <small>Error 1027</small></h1>");
      const posted = await harness.call({ method: "POST", body: "x".repeat(100_000) });
      expect(codeOf(posted)).toEqual(REFUSED);
      expect(requests).toBe(0);
      refuse();
      expect((await harness.call()).text).toBe("served");
    });

    test("disturb no other, and stay refused through deploys, cold and warm", async () => {
      const cell = await harness.startCell((_, response) => response.end("served"));
      harness.ingress.setRoutes([
        { pattern: "test.localhost/*", worker: worker("test") },
        { pattern: "other.localhost/*", worker: worker("other") },
      ]);
      harness.ingress.publish(worker("other"), [cell.socketPath]);
      refuse("test");
      expect(codeOf(await harness.call())).toEqual(REFUSED);
      harness.ingress.publish(worker("test"), [cell.socketPath]);
      expect(codeOf(await harness.call())).toEqual(REFUSED);
      harness.ingress.publish(worker("test"), []);
      expect(codeOf(await harness.call())).toEqual(REFUSED);
      expect((await harness.call({ host: "other.localhost" })).text).toBe("served");
      harness.ingress.publish(worker("test"), [cell.socketPath]);
      refuse("other");
      expect((await harness.call()).text).toBe("served");
      expect(codeOf(await harness.call({ host: "other.localhost" }))).toEqual(REFUSED);
    });

    test("are refused in both versions of a split, and as a preview", async () => {
      const cell = await harness.startCell((_, response) => response.end("served"));
      const [newer, older] = VERSIONS;
      harness.ingress.setRoutes([{ pattern: "test.localhost/*", worker: worker("test") }], {
        splits: [
          {
            worker: worker("test"),
            versions: [
              { id: newer, percentage: 50 },
              { id: older, percentage: 50 },
            ],
          },
        ],
        previewHosts: new Map([["test.localhost", worker("test")]]),
      });
      for (const id of VERSIONS) {
        harness.ingress.publish(versionTarget(worker("test"), id), [cell.socketPath]);
      }
      expect((await harness.call()).text).toBe("served");
      refuse("test");
      for (let count = 0; count < 3; count += 1) {
        expect(codeOf(await harness.call())).toEqual(REFUSED);
      }
      const overrides = { "cloudflare-workers-version-overrides": `test="${newer}"` };
      expect(codeOf(await harness.call({ headers: overrides }))).toEqual(REFUSED);
      expect(codeOf(await harness.call({ host: "label-test.localhost" }))).toEqual(REFUSED);
    });

    test("are told of once each as refused, however many come at once", async () => {
      await harness.serve((_, response) => response.end("served"));
      refuse("test");
      const count = 2 * LIMITS.quotaRefusalsTold + 5;
      const answers = await Promise.all(
        Array.from({ length: count }, () => harness.call({ headers: { accept: "text/html" } })),
      );
      for (const answer of answers) expect(codeOf(answer)).toEqual(REFUSED);
      const pages = new Set(answers.map(({ text }) => text.replace(/Ray ID: .*?</, "")));
      // Of these pages one may name the host, and the other not.
      expect(pages.size).toBeLessThanOrEqual(2);
      refuse();
      await harness.call();
      await until(() => harness.served.some(({ status }) => status === 200), "the last request");
      await until(() => harness.served.length > count, "all requests to be told of");
      const refused = harness.served.filter(({ isRefused }) => isRefused === true);
      expect(refused).toHaveLength(count);
      expect(harness.served).toHaveLength(count + 1);
      expect(refused[0]).toMatchObject({ worker: worker("test"), status: 429, bytesOut: 0 });
      expect(refused.every(({ socketPath }) => socketPath === undefined)).toBe(true);
    });

    test("get no further WebSocket, and those that stand go on", async () => {
      await harness.serveWorker(ECHO);
      const headers = { host: "test.localhost" };
      const client = new WebSocket(`ws://127.0.0.1:${harness.port}/`, { headers });
      await within(once(client, "open"), "the handshake");
      refuse("test");
      const socket = await harness.dial();
      socket.write(HANDSHAKE);
      const refusal = await readUntil(socket, (text) => text.includes("\r\n\r\n"));
      expect(refusal).toMatch(/^HTTP\/1.1 429 [^]*x-atoll-error: day_quota_exceeded/i);
      client.send("still here");
      expect(String((await within(once(client, "message"), "the echo"))[0])).toBe("still here");
      client.terminate();
    });
  });
}
