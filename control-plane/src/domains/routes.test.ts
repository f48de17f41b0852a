import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  await api.deploy("one");
  await api.deploy("two");
});
afterEach(() => api.close());

async function setDomains(worker: string, hosts: ReadonlyArray<string>, isTakingOver = false) {
  return api.call(`PUT A/workers/scripts/${worker}/domains/records`, {
    override_scope: true,
    override_existing_origin: isTakingOver,
    override_existing_dns_record: isTakingOver,
    origins: hosts.map((hostname) => ({ hostname })),
  });
}

async function changeset(worker: string, hosts: ReadonlyArray<string>) {
  const line = `POST A/workers/scripts/${worker}/domains/changeset?replace_state=true`;
  return (
    await api.call(
      line,
      hosts.map((hostname) => ({ hostname })),
    )
  ).result;
}

async function routesOf(name: string): Promise<ReadonlyArray<string>> {
  const { workers } = await api.controlPlane.desiredState.snapshot();
  return workers.find((worker) => worker.name === name)?.routes ?? [];
}

describe("custom domains: ", () => {
  test("take every path of their host, and leave the worker's routes alone", async () => {
    const routes = [{ pattern: "routed.example.com/*" }];
    await api.call("PUT A/workers/scripts/one/routes", routes);
    await setDomains("one", ["Shop.example.com"]);
    expect(await routesOf("one")).toEqual([
      "one.atoll.test/*",
      "routed.example.com/*",
      "shop.example.com/*",
    ]);
    const { result } = await api.call("GET A/workers/domains/records");
    expect(result).toMatchObject([{ hostname: "shop.example.com", service: "one" }]);
    const one = await api.call(`GET A/workers/domains/records/${result[0].id}`);
    expect(one.result).toEqual(result[0]);
    expect((await api.call("GET A/workers/domains/records/none")).status).toBe(404);
  });

  test("the changeset tells what a replacement would do", async () => {
    await setDomains("one", ["kept.example.com", "gone.example.com"]);
    await setDomains("two", ["taken.example.com"]);
    const hosts = ["kept.example.com", "new.example.com", "taken.example.com"];
    expect(await changeset("one", hosts)).toMatchObject({
      added: [{ hostname: "new.example.com" }],
      removed: [{ hostname: "gone.example.com" }],
      updated: [{ hostname: "kept.example.com", modified: false }],
      conflicting: [{ hostname: "taken.example.com", service: "two" }],
    });
    expect(await routesOf("one")).toHaveLength(3);
  });

  test("a domain of another worker moves only when that is asked for", async () => {
    await setDomains("two", ["shop.example.com"]);
    const refused = await setDomains("one", ["shop.example.com"]);
    expect(refused.errors[0]?.message).toContain("leads to 'two'");
    expect(await setDomains("one", ["shop.example.com"], true)).toMatchObject({ success: true });
    expect(await routesOf("one")).toEqual(["one.atoll.test/*", "shop.example.com/*"]);
    expect(await routesOf("two")).toEqual(["two.atoll.test/*"]);
  });

  test("a domain of another account never moves", async () => {
    await api.deploy("far", {}, "theirs");
    const body = { origins: [{ hostname: "shop.example.com" }] };
    await api.call("PUT A/workers/scripts/far/domains/records", body, "theirs");
    const refused = await setDomains("one", ["shop.example.com"], true);
    expect(refused).toMatchObject({ status: 409, errors: [{ code: 10_020 }] });
    expect(await routesOf("far")).toContain("shop.example.com/*");
  });
});
