import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ControlPlaneApi, uploadForm } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

const SCRIPT = "A/workers/scripts/hello";

async function routes(): Promise<unknown> {
  return (await api.controlPlane.desiredState.snapshot()).workers[0]?.routes;
}

describe("workers: ", () => {
  test("a worker is found once it is there, always as deployed by wrangler", async () => {
    const missing = await api.call("GET A/workers/services/hello");
    expect(missing).toMatchObject({ status: 404, errors: [{ code: 10_090 }] });
    await api.deploy("hello", { tags: ["a"] });
    const { result } = await api.call("GET A/workers/services/hello");
    expect(result.default_environment.script).toMatchObject({
      id: "hello",
      tags: ["a"],
      last_deployed_from: "wrangler",
    });
    expect((await api.call("GET A/workers/scripts")).result).toMatchObject([{ id: "hello" }]);
  });

  test("the settings list exactly the bindings of the newest version, secrets without text", async () => {
    await api.deploy("hello", {
      bindings: [
        { type: "json", name: "J", json: { a: [1] } },
        { type: "secret_text", name: "S", text: "hidden" },
        { type: "service", name: "SELF", service: "hello", entrypoint: "Other" },
      ],
    });
    const { result } = await api.call(`GET ${SCRIPT}/settings`);
    expect(result).toMatchObject({ compatibility_date: "2026-04-01", compatibility_flags: [] });
    expect(result.bindings).toEqual([
      { type: "json", name: "J", json: { a: [1] } },
      { type: "secret_text", name: "S" },
      { type: "service", name: "SELF", service: "hello", entrypoint: "Other" },
    ]);
    expect((await api.call("GET A/workers/scripts/none/settings")).errors[0]?.code).toBe(10_007);
  });

  test("script settings change only what is named, and reach no node", async () => {
    await api.deploy("hello", { tags: ["a"] });
    const patch = { observability: { enabled: true }, tail_consumers: [], unknown: 1 };
    const { result } = await api.call(`PATCH ${SCRIPT}/script-settings`, patch);
    expect(result).toMatchObject({ tags: ["a"], observability: { enabled: true } });
    expect((await api.call(`GET ${SCRIPT}/script-settings`)).result).toEqual(result);
    expect(await api.controlPlane.desiredState.revision()).toBe(1);
    const tails = { streaming_tail_consumers: [{ service: "x" }] };
    const refused = await api.call(`PATCH ${SCRIPT}/script-settings`, tails);
    expect(refused.errors[0]?.code).toBe(10_023);
  });

  test("the own host is switched off and on, and a switch that changes nothing is no change", async () => {
    await api.deploy("hello");
    const off = await api.call(`POST ${SCRIPT}/subdomain`, { enabled: false });
    expect(off.result).toEqual({ enabled: false, previews_enabled: false });
    expect(await routes()).toEqual([]);
    const on = { enabled: true, previews_enabled: false };
    expect((await api.call(`POST ${SCRIPT}/subdomain`, on)).result).toEqual(on);
    expect(await routes()).toEqual(["hello.atoll.test/*"]);
    const before = await api.countRows();
    await api.call(`POST ${SCRIPT}/subdomain`, on);
    expect(await api.countRows()).toEqual(before);
    expect((await api.call(`GET ${SCRIPT}/subdomain`)).result).toEqual(on);
    expect(await api.call(`POST ${SCRIPT}/subdomain`, {})).toMatchObject({ status: 400 });
  });

  test("URLs name the true host and port", async () => {
    await api.deploy("hello");
    const { result } = await api.call("GET A/workers/workers/hello");
    expect(result.subdomain).toMatchObject({
      enabled: true,
      url: "http://hello.atoll.test:4401",
      preview_url_suffix: "-hello.atoll.test:4401",
    });
    const account = await api.call("GET A/workers/subdomain");
    expect(account.result).toEqual({ subdomain: "atoll.test:4401/#" });
    expect((await api.call("GET A/workers/workers/none")).errors[0]?.code).toBe(10_007);
  });

  test("deleting removes everything, and the name starts anew", async () => {
    await api.deploy("hello", { bindings: [{ type: "secret_text", name: "S", text: "1" }] });
    await api.call(`PUT ${SCRIPT}/routes`, [{ pattern: "a.example.com/*" }]);
    await api.call("DELETE A/workers/services/hello?force=false");
    const empty = { workers: 0, versions: 0, version_secrets: 0, deployments: 0, routes: 0 };
    expect(await api.countRows()).toMatchObject(empty);
    const again = await api.call("DELETE A/workers/services/hello?force=false");
    expect(again).toMatchObject({ status: 404, errors: [{ code: 10_007 }] });
    await api.deploy("hello");
    expect((await api.call(`GET ${SCRIPT}/secrets`)).result).toEqual([]);
  });

  test("a worker that others call is deleted by force only", async () => {
    await api.deploy("hello");
    const service = { type: "service", name: "HELLO", service: "hello" };
    await api.deploy("caller", { bindings: [service] });
    const { result } = await api.call(`GET ${SCRIPT}/references`);
    expect(result.services.incoming).toMatchObject([{ service: "caller" }]);
    const refused = await api.call("DELETE A/workers/services/hello?force=false");
    expect(refused.errors[0]).toMatchObject({
      code: 10_064,
      message: expect.stringContaining("caller"),
    });
    expect(await api.call("DELETE A/workers/services/hello?force=true")).toMatchObject({
      success: true,
    });
  });

  test("nothing consumes tails and there are no Durable Objects", async () => {
    expect((await api.call("GET A/workers/tails/by-consumer/hello")).result).toEqual([]);
    const line = "GET A/workers/durable_objects/namespaces?per_page=1000&page=1";
    expect((await api.call(line)).result).toEqual([]);
  });
});

describe("deployments: ", () => {
  test("an older version is deployed again as a rollback, and the newest deployment is first", async () => {
    const first = await api.deploy("hello");
    await api.deploy("hello");
    const versions = [{ version_id: first.result.deployment_id, percentage: 100 }];
    const body = {
      strategy: "percentage",
      versions,
      annotations: { "workers/message": "Rollback" },
      code_update_strategy: { mode: "deferred" },
    };
    await api.call(`POST ${SCRIPT}/deployments`, body);
    const { deployments } = (await api.call(`GET ${SCRIPT}/deployments`)).result;
    expect(deployments).toHaveLength(3);
    expect(deployments[0]).toMatchObject({
      versions,
      annotations: { "workers/message": "Rollback", "workers/triggered_by": "rollback" },
    });
    const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
    expect(worker?.versions[0]?.version.id).toBe(first.result.deployment_id);
  });

  test("two versions serve with the percentages that were asked for, 0 included", async () => {
    const first = (await api.deploy("hello")).result.deployment_id as string;
    const second = (await api.call(`POST ${SCRIPT}/versions`, uploadForm({}))).result.id as string;
    for (const [older, newer] of [
      [90, 10],
      [100, 0],
      [33.3, 66.7],
    ]) {
      const versions = [
        { version_id: second, percentage: newer },
        { version_id: first, percentage: older },
      ];
      const body = { strategy: "percentage", versions, annotations: { "workers/message": "step" } };
      expect(await api.call(`POST ${SCRIPT}/deployments`, body)).toMatchObject({ success: true });
      const { deployments } = (await api.call(`GET ${SCRIPT}/deployments`)).result;
      expect(deployments[0]).toMatchObject({
        versions,
        annotations: { "workers/message": "step", "workers/triggered_by": "upload" },
      });
      const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
      const running = worker?.versions.map(({ version, percentage }) => [version.id, percentage]);
      expect(running).toEqual([
        [second, newer],
        [first, older],
      ]);
    }
    // What serves part of the requests already is no stranger: it gets all of them without a question.
    const versions = [{ version_id: first, percentage: 100 }];
    const back = await api.call(`POST ${SCRIPT}/deployments`, { strategy: "percentage", versions });
    expect(back.result.annotations).toEqual({ "workers/triggered_by": "rollback" });
  });

  test("a version of a split that would bring other secrets back is refused, but for force", async () => {
    const secret = (text: string) => ({ bindings: [{ type: "secret_text", name: "A", text }] });
    const first = (await api.deploy("hello", secret("1"))).result.deployment_id as string;
    const second = (await api.deploy("hello", secret("2"))).result.deployment_id as string;
    const versions = [
      { version_id: second, percentage: 90 },
      { version_id: first, percentage: 10 },
    ];
    const body = { strategy: "percentage", versions };
    const refused = await api.call(`POST ${SCRIPT}/deployments`, body);
    expect(refused.errors).toEqual([
      { code: 10_220, message: "The following secrets have changed: A" },
    ]);
    const forced = await api.call(`POST ${SCRIPT}/deployments?force=true`, body);
    expect(forced).toMatchObject({ success: true });
    // Secrets change on top of the newest version, so that one has to serve everything.
    const put = await api.call(`PUT ${SCRIPT}/secrets`, {
      name: "A",
      text: "3",
      type: "secret_text",
    });
    expect(put.errors[0]?.code).toBe(10_215);
  });

  test("wrong sums, repeated and unknown versions are refused and change nothing", async () => {
    const first = (await api.deploy("hello")).result.deployment_id as string;
    const second = (await api.call(`POST ${SCRIPT}/versions`, uploadForm({}))).result.id as string;
    const foreign = (await api.deploy("other")).result.deployment_id as string;
    const before = await api.countRows();
    const cases: ReadonlyArray<readonly [ReadonlyArray<readonly [string, number]>, number]> = [
      [
        [
          [first, 50],
          [second, 49],
        ],
        10_001,
      ],
      [
        [
          [first, 50],
          [first, 50],
        ],
        10_001,
      ],
      [
        [
          [first, 101],
          [second, -1],
        ],
        10_001,
      ],
      [
        [
          [first, 40],
          [second, 30],
          [crypto.randomUUID(), 30],
        ],
        10_001,
      ],
      [
        [
          [first, 50],
          [foreign, 50],
        ],
        10_222,
      ],
      [[[first, 99]], 10_001],
      [[[first, 0]], 10_001],
      [[], 10_001],
      [[["not-a-uuid", 100]], 10_001],
      [[[foreign, 100]], 10_222],
      [[[crypto.randomUUID(), 100]], 10_222],
    ];
    for (const [chosen, code] of cases) {
      const versions = chosen.map(([version_id, percentage]) => ({ version_id, percentage }));
      const body = { strategy: "percentage", versions };
      expect(await api.call(`POST ${SCRIPT}/deployments`, body)).toMatchObject({
        success: false,
        errors: [{ code }],
      });
    }
    expect(await api.countRows()).toEqual(before);
  });

  test("a version whose bindings lead nowhere any more is not deployed again", async () => {
    await api.deploy("target");
    const service = { type: "service", name: "TARGET", service: "target" };
    const old = (await api.deploy("hello", { bindings: [service] })).result.deployment_id as string;
    await api.deploy("hello");
    await api.call("DELETE A/workers/services/target");
    const before = await api.countRows();
    const versions = [{ version_id: old, percentage: 100 }];
    const body = { strategy: "percentage", versions };
    const refused = await api.call(`POST ${SCRIPT}/deployments`, body);
    expect(refused.errors[0]).toMatchObject({
      code: 10_143,
      message: expect.stringContaining("'target' does not exist"),
    });
    expect(await api.countRows()).toEqual(before);
  });

  test("listings show the newest ten", async () => {
    for (let index = 0; index < 11; index += 1) await api.deploy("hello");
    const { deployments } = (await api.call(`GET ${SCRIPT}/deployments`)).result;
    const { items } = (await api.call(`GET ${SCRIPT}/versions?deployable=true`)).result;
    expect([deployments.length, items.length, items[0].number]).toEqual([10, 10, 11]);
    const one = await api.call(`GET ${SCRIPT}/versions/${items[0].id}`);
    expect(one.result).toEqual(items[0]);
    expect((await api.call(`GET ${SCRIPT}/versions/${crypto.randomUUID()}`)).status).toBe(404);
  });
});
