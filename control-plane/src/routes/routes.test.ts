import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi, type Tenant } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  await api.deploy("one");
  await api.deploy("two");
  await api.deploy("far", {}, "theirs");
});
afterEach(() => api.close());

async function setRoutes(worker: string, patterns: ReadonlyArray<string>, tenant?: Tenant) {
  const body = patterns.map((pattern) => ({ pattern, zone_name: "ignored.example" }));
  return api.call(`PUT A/workers/scripts/${worker}/routes`, body, tenant);
}

async function routesOf(name: string): Promise<ReadonlyArray<string>> {
  const { workers } = await api.controlPlane.desiredState.snapshot();
  return workers.find((worker) => worker.name === name)?.routes ?? [];
}

describe("routes: ", () => {
  test("replace the whole set, beside the worker's own host", async () => {
    await setRoutes("one", ["Shop.example.com/*", "*.example.com/api/*", "shop.example.com/*"]);
    expect(await routesOf("one")).toEqual([
      "one.atoll.test/*",
      "*.example.com/api/*",
      "shop.example.com/*",
    ]);
    await setRoutes("one", ["other.example.com/*"]);
    expect(await routesOf("one")).toEqual(["one.atoll.test/*", "other.example.com/*"]);
    await setRoutes("one", []);
    expect(await routesOf("one")).toEqual(["one.atoll.test/*"]);
  });

  test("the same set again is no change", async () => {
    await setRoutes("one", ["a.example.com/*", "b.example.com/*"]);
    const before = await api.countRows();
    await setRoutes("one", ["b.example.com/*", "a.example.com/*"]);
    expect(await api.countRows()).toEqual(before);
  });

  test("a pattern of another worker is refused by that worker's name; a more specific one is not", async () => {
    await setRoutes("one", ["example.com/*"]);
    const before = await api.countRows();
    const refused = await setRoutes("two", ["ok.example.com/*", "example.com/*"]);
    expect(refused).toMatchObject({ status: 409, errors: [{ code: 10_020 }] });
    expect(refused.errors[0]?.message).toContain("'example.com/*' leads to 'one'");
    const host = await setRoutes("two", ["one.atoll.test/*"]);
    expect(host.errors[0]?.message).toContain("leads to 'one'");
    expect(await api.countRows()).toEqual(before);
    expect(await setRoutes("two", ["example.com/api/*"])).toMatchObject({ success: true });
    expect(await setRoutes("two", ["one.atoll.test/api/*"])).toMatchObject({ success: true });
  });

  test.each([
    { theirs: "shop.example.com/*", ours: "shop.example.com/api/*" },
    { theirs: "*.example.com/*", ours: "shop.example.com/*" },
    { theirs: "shop.example.com/*", ours: "*.example.com/*" },
    { theirs: "free.atoll.test/*", ours: "free.atoll.test/x" },
  ])(
    "hosts of another account are out of reach: $ours beside $theirs",
    async ({ theirs, ours }) => {
      expect(await setRoutes("far", [theirs], "theirs")).toMatchObject({ success: true });
      const before = await api.countRows();
      const refused = await setRoutes("one", [ours]);
      expect(refused).toMatchObject({ status: 409, errors: [{ code: 10_020 }] });
      expect(refused.errors[0]?.message).toContain("belongs to another account");
      expect(refused.errors[0]?.message).not.toContain("far");
      expect(await api.countRows()).toEqual(before);
    },
  );

  test("the own host of another account's worker is out of reach, on every path", async () => {
    for (const pattern of ["far.atoll.test/*", "far.atoll.test/some/path"]) {
      expect((await setRoutes("one", [pattern])).errors[0]?.code).toBe(10_020);
    }
  });

  test("a wildcard over the base domain is no obstacle to others' workers", async () => {
    expect(await setRoutes("one", ["*.atoll.test/*"])).toMatchObject({ success: true });
    expect(await api.deploy("new-there", {}, "theirs")).toMatchObject({ success: true });
    await setRoutes("one", ["held.atoll.test/*"]);
    const held = await api.deploy("held", {}, "theirs");
    expect(held).toMatchObject({ status: 409, errors: [{ code: 10_020 }] });
  });

  test("a wildcard over the base domain is for the account that was made first", async () => {
    const before = await api.countRows();
    for (const pattern of ["*.atoll.test/*", "*atoll.test/path/*"]) {
      const refused = await setRoutes("far", [pattern], "theirs");
      expect(refused).toMatchObject({ status: 409, errors: [{ code: 10_020 }] });
      expect(refused.errors[0]?.message).toContain("only the account that was made first");
    }
    expect(await api.countRows()).toEqual(before);
    expect(await setRoutes("far", ["*.far.atoll.test/*"], "theirs")).toMatchObject({ status: 200 });
    expect(await setRoutes("one", ["*.atoll.test/*"])).toMatchObject({ status: 200 });
  });

  test("bad patterns, too many, and unknown workers are refused", async () => {
    const bad = await setRoutes("one", ["a.*.com/*"]);
    expect(bad).toMatchObject({ status: 400, errors: [{ code: 10_022 }] });
    const many = (count: number) => Array.from({ length: count }, (_, index) => `h${index}.test/*`);
    expect(await setRoutes("one", many(LIMITS.routesMax + 1))).toMatchObject({ status: 400 });
    expect(await setRoutes("one", many(LIMITS.routesMax))).toMatchObject({ status: 200 });
    // Beside the worker's own host.
    expect(await routesOf("one")).toHaveLength(LIMITS.routesMax + 1);
    expect((await setRoutes("none", [])).errors[0]?.code).toBe(10_007);
  });

  test("zones are found by any name, and list the routes below them", async () => {
    await setRoutes("one", ["shop.example.com/*", "*.example.com/api/*", "other.test/*"]);
    const { result } = await api.call("GET /zones?name=example.com&account.id=x");
    expect(result).toMatchObject([
      { name: "example.com", id: expect.stringMatching(/^[0-9a-f]{32}$/) },
    ]);
    const routes = await api.call(`GET /zones/${result[0].id}/workers/routes`);
    expect(routes.result).toMatchObject([
      { pattern: "*.example.com/api/*", script: "one" },
      { pattern: "shop.example.com/*", script: "one" },
    ]);
    const theirs = await api.call(`GET /zones/${result[0].id}/workers/routes`, undefined, "theirs");
    expect(theirs.result).toEqual([]);
    expect((await api.call("GET /zones?name=a/b")).result).toEqual([]);
  });
});
