import { Agent, request as httpRequest } from "node:http";
import { VersionId } from "@atoll/control-plane/contract";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EdgeError } from "../../errors.ts";
import { KEY_COOKIE, KEY_HEADER, OVERRIDES_HEADER, type Split } from "../split.ts";
import { previewTarget, type TargetKey, versionTarget } from "../target-key.ts";
import { EndlessClients } from "./endless-clients.ts";
import {
  type Answer,
  type IngressBackend,
  IngressHarness,
  readUntil,
  until,
  worker,
} from "./ingress-harness.ts";

const [NEWER, OLDER] = [2, 1].map((digit) =>
  VersionId.parse(`00000000-0000-4000-8000-00000000000${digit}`),
) as [VersionId, VersionId];
const ROUTES = [{ pattern: "test.localhost/*", worker: worker("test") }];
const COOKIE = new RegExp(`^${KEY_COOKIE}=~[0-9]{1,6}; Path=/; HttpOnly; SameSite=Lax$`);

/** Requests to very versions of a worker: of two that serve it, and of any that has a preview. */
export function describeVersions(backend: IngressBackend): void {
  describeSplits(backend);
  describePreviews(backend);
}

function describePreviews(backend: IngressBackend): void {
  describe("previews", () => {
    let harness: IngressHarness;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
    });
    afterEach(() => harness.dispose());

    test("go to the activator by their label, and only where nothing is routed", async () => {
      const cell = await harness.startCell((request, response) => {
        response.end(request.headers.host);
      });
      const activated: TargetKey[] = [];
      harness.activate = async (target) => {
        activated.push(target);
        return { socketPath: cell.socketPath };
      };
      const routed = { pattern: "taken-test.localhost/*", worker: worker("taken") };
      const previewHosts = new Map([["test.localhost", worker("test")]]);
      harness.ingress.setRoutes([...ROUTES, routed], { previewHosts });
      for (const label of ["0a1b2c3d", "some-alias", "taken"]) {
        const host = `${label}-test.localhost`;
        const answer = await harness.call({ host, headers: { "x-atoll-x": "1" } });
        expect([answer.text, answer.headers["set-cookie"]]).toEqual([host, undefined]);
      }
      expect(activated).toEqual([
        previewTarget(worker("test"), "0a1b2c3d"),
        previewTarget(worker("test"), "some-alias"),
        worker("taken"),
      ]);
      const told = harness.served;
      await until(() => told.length === 3, "the requests to be told of");
      expect(told.map((each) => each.worker)).toEqual(
        ["test", "test", "taken"].map((name) => worker(name)),
      );
      expect((await harness.call({ host: "x-other.localhost" })).status).toBe(404);
      harness.ingress.setRoutes(ROUTES);
      expect((await harness.call({ host: "some-alias-test.localhost" })).status).toBe(404);
    });

    test("that do not exist are told so, and are nobody's failure", async () => {
      harness.activate = async () => {
        throw new EdgeError("preview_unknown", "no such preview");
      };
      harness.ingress.setRoutes(ROUTES, {
        previewHosts: new Map([["test.localhost", worker("test")]]),
      });
      const answer = await harness.call({ host: "none-test.localhost" });
      expect([answer.status, answer.headers["x-atoll-error"]]).toEqual([404, "preview_unknown"]);
      expect(answer.text).toContain("no version or alias");
      expect((await harness.ingress.counters()).errors).toBe(0);
    });
  });
}

function describeSplits(backend: IngressBackend): void {
  describe("two versions of a worker", () => {
    let harness: IngressHarness;
    let served: Record<string, number>;
    beforeEach(async () => {
      harness = await IngressHarness.open(backend);
      served = { newer: 0, older: 0 };
    });
    afterEach(() => harness.dispose());

    function splitWith(percentage: number): Split {
      return {
        worker: worker("test"),
        versions: [
          { id: NEWER, percentage },
          { id: OLDER, percentage: 100 - percentage },
        ],
      };
    }

    async function startVersion(name: string): Promise<string> {
      const cell = await harness.startCell((request, response) => {
        served[name] = (served[name] ?? 0) + 1;
        request.resume().on("end", () => response.end(name));
      });
      return cell.socketPath;
    }

    /** Both versions warm, the older one also as the worker itself, as the supervisor publishes them. */
    async function serve(percentage: number): Promise<{ newer: string; older: string }> {
      const [newer, older] = [await startVersion("newer"), await startVersion("older")];
      harness.ingress.publish(worker("test"), [older]);
      harness.ingress.publish(versionTarget(worker("test"), NEWER), [newer]);
      harness.ingress.publish(versionTarget(worker("test"), OLDER), [older]);
      harness.ingress.setRoutes(ROUTES, { splits: [splitWith(percentage)] });
      await harness.ingress.settled();
      return { newer, older };
    }

    function cookiesOf({ headers }: Answer): ReadonlyArray<string> {
      return headers["set-cookie"] ?? [];
    }

    /** Many requests over a few connections, without keys. */
    async function callMany(count: number): Promise<void> {
      const agent = new Agent({ keepAlive: true, maxSockets: 8 });
      const one = (): Promise<void> =>
        new Promise((resolve, reject) => {
          const headers = { host: "test.localhost" };
          const options = { port: harness.port, host: "127.0.0.1", agent, headers };
          const request = httpRequest(options, (response) => {
            response.resume().on("end", resolve);
          });
          request.on("error", reject);
          request.end();
        });
      let left = count;
      const client = async (): Promise<void> => {
        for (; left > 0; left -= 1) await one();
      };
      await Promise.all(Array.from({ length: 8 }, client));
      agent.destroy();
    }

    test("get their shares of 10,000 requests within a percent", async () => {
      await serve(10);
      await callMany(10_000);
      const { newer = 0, older = 0 } = served;
      expect(newer + older).toBeGreaterThanOrEqual(10_000);
      expect(Math.abs(newer / (newer + older) - 0.1)).toBeLessThan(0.01);
    }, 60_000);

    test("a version with 0 % gets nothing but what asks for it", async () => {
      await serve(0);
      await callMany(200);
      expect(served["newer"]).toBe(0);
      const overrides = { [OVERRIDES_HEADER]: `other="x", test="${NEWER}"` };
      const asked = await harness.call({ headers: overrides });
      expect([asked.text, cookiesOf(asked)]).toEqual(["newer", []]);
      const posted = await harness.call({ method: "POST", body: "x", headers: overrides });
      expect(posted.text).toBe("newer");
      const unknown = { [OVERRIDES_HEADER]: `test="${crypto.randomUUID()}", test2="${NEWER}"` };
      expect((await harness.call({ headers: unknown })).text).toBe("older");
    });

    test("meet a client with a key again, whatever others do", async () => {
      await serve(50);
      const seen = new Set<string>();
      for (let client = 0; client < 20; client += 1) {
        const headers = { [KEY_HEADER]: `client ${client}` };
        const first = await harness.call({ headers });
        seen.add(first.text);
        expect(cookiesOf(first)).toEqual([]);
        await harness.call();
        for (const call of [{ method: "POST", body: "x" }, { path: "/other" }]) {
          expect((await harness.call({ ...call, headers })).text).toBe(first.text);
        }
        const cookie = `theme=dark; ${KEY_COOKIE}=client ${client}`;
        expect((await harness.call({ headers: { cookie } })).text).toBe(first.text);
      }
      expect([...seen].sort()).toEqual(["newer", "older"]);
    });

    test("let a client without a key stay where it began, by a cookie", async () => {
      await serve(50);
      const seen = new Set<string>();
      for (let client = 0; client < 20; client += 1) {
        const first = await harness.call();
        seen.add(first.text);
        const [given = "", ...more] = cookiesOf(first);
        expect(more).toEqual([]);
        expect(given).toMatch(COOKIE);
        const cookie = given.split(";")[0];
        const again = await harness.call({ headers: { cookie } });
        expect([again.text, cookiesOf(again)]).toEqual([first.text, []]);
      }
      expect([...seen].sort()).toEqual(["newer", "older"]);
    });

    test("stay the same ones for a client while the newer one's share grows", async () => {
      await serve(20);
      const keys = Array.from({ length: 40 }, (_, index) => `client-${index}`);
      const versionOf = async (key: string): Promise<string> =>
        (await harness.call({ headers: { [KEY_HEADER]: key } })).text;
      const before = await Promise.all(keys.map(versionOf));
      harness.ingress.setRoutes(ROUTES, { splits: [splitWith(70)] });
      const after = await Promise.all(keys.map(versionOf));
      const lost = keys.filter((_, index) => before[index] === "newer" && after[index] === "older");
      expect(lost).toEqual([]);
      expect(after.filter((name) => name === "newer").length).toBeGreaterThan(
        before.filter((name) => name === "newer").length,
      );
    });

    test("each have WebSockets", async () => {
      await serve(100);
      const socket = await harness.dial();
      socket.write(
        "GET / HTTP/1.1\r\nhost: test.localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
          "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      );
      // The scripted cell declines, which shows who was asked.
      expect(await readUntil(socket, (text) => text.includes("newer"))).toContain("200");
    });

    test("are started when they are cold, each by itself", async () => {
      const { newer, older } = await serve(100);
      harness.ingress.publish(versionTarget(worker("test"), NEWER), []);
      const activated: TargetKey[] = [];
      harness.activate = async (target) => {
        activated.push(target);
        return { socketPath: newer, coldMs: 7 };
      };
      const answer = await harness.call();
      expect([answer.text, answer.headers["x-atoll-cold"]]).toEqual(["newer", "7"]);
      expect(cookiesOf(answer)).toHaveLength(1);
      expect(activated).toEqual([versionTarget(worker("test"), NEWER)]);
      const told = harness.served;
      await until(() => told.length === 1, "the request to be told of");
      expect(told[0]).toMatchObject({ worker: worker("test"), socketPath: newer, status: 200 });
      expect(older).not.toBe(newer);
    });

    test("are told apart by the cells that served them", async () => {
      const { newer, older } = await serve(50);
      for (let count = 0; count < 10; count += 1) await harness.call();
      const told = harness.served;
      await until(() => told.length === 10, "the requests to be told of");
      expect(new Set(told.map((each) => each.worker))).toEqual(new Set([worker("test")]));
      const at = (path: string): number =>
        told.filter(({ socketPath }) => socketPath === path).length;
      expect([at(newer), at(older)]).toEqual([served["newer"], served["older"]]);
      for (const path of [newer, older]) {
        expect((await harness.ingress.requestsOf(path)).begun).toBe(at(path));
      }
    });

    test("each balance their own cells", async () => {
      const { newer } = await serve(50);
      const second = await startVersion("newer");
      harness.ingress.publish(versionTarget(worker("test"), NEWER), [newer, second]);
      for (let count = 0; count < 40; count += 1) await harness.call();
      expect(Math.abs((served["newer"] ?? 0) - 20)).toBeLessThanOrEqual(2);
    });

    test("come and go under load without the loss of a request", async () => {
      const { newer, older } = await serve(50);
      harness.activate = async () => ({ socketPath: older });
      const clients = new EndlessClients(harness, ["GET", "POST", "GET"]);
      const [newerTarget, olderTarget] = [NEWER, OLDER].map((id) =>
        versionTarget(worker("test"), id),
      ) as [TargetKey, TargetKey];
      for (let turn = 1; turn <= 6; turn += 1) {
        const reached = clients.answered + 20;
        // The end of a split as the supervisor and the runner tell of it, then its beginning.
        harness.ingress.publish(newerTarget, []);
        harness.ingress.publish(olderTarget, []);
        harness.ingress.setRoutes(ROUTES);
        await harness.ingress.drain(newer);
        await until(() => clients.answered > reached, "requests to pass");
        harness.ingress.publish(newerTarget, [newer]);
        harness.ingress.publish(olderTarget, [older]);
        harness.ingress.setRoutes(ROUTES, { splits: [splitWith(50)] });
        await until(() => clients.answered > reached + 20, "more requests to pass");
      }
      await clients.stop();
      expect([...clients.outcomes]).toEqual(["200"]);
      expect((await harness.ingress.counters()).errors).toBe(0);
    });
  });
}
