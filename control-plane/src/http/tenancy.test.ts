import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createKvNamespaceRoutes } from "../kv-namespaces/routes.ts";
import { EntriesService } from "../kv-namespaces/entries-service.ts";
import { NamespacesService } from "../kv-namespaces/service.ts";
import { createResources } from "../resources.ts";
import { HostNames } from "../routes/host-names.ts";
import { SecretSealer } from "../secrets/sealing.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { UsageService } from "../usage/service.ts";
import { VersionStore } from "../versions/store.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

interface Address {
  readonly method: string;
  readonly path: string;
}

/** Every address of the API that names an account, with its other parameters filled in. */
function accountAddresses(): ReadonlyArray<Address> {
  const { controlPlane, preflight, clock } = api;
  const { database, mutations, blobs, accounts } = controlPlane;
  const masterKey = new Uint8Array(32);
  const versions = new VersionStore(new SecretSealer(masterKey));
  const hostNames = new HostNames({ baseDomain: "atoll.test", publicPort: 80 });
  const services = { database, mutations, versions, blobs, accounts, hostNames, preflight, clock };
  const usage = new UsageService({ database, clock, log: pino({ level: "silent" }) });
  const { resources } = createResources({ ...services, usage, masterKey });
  // The origin is only called by handlers, and this test calls none of these.
  const origin = undefined as never;
  const kv = createKvNamespaceRoutes({
    namespaces: new NamespacesService({ database, mutations, origin }),
    entries: new EntriesService({ origin, blobs }),
    management: undefined as never,
  });
  const routes = [...resources, kv].flatMap((router) => router.routes);
  return routes
    .filter(({ method, path }) => method !== "ALL" && path.startsWith("/accounts/:account"))
    .map(({ method, path }) => ({
      method,
      path: path.replaceAll(/:(?!account)\w+(\{.*?\})?/g, "hello"),
    }));
}

describe("tenancy: ", () => {
  test("every address of another account answers 403 to a token of ours and changes nothing", async () => {
    await api.deploy("hello", {}, "theirs");
    const before = await api.countRows();
    const addresses = accountAddresses();
    expect(addresses.length).toBeGreaterThan(40);
    for (const { method, path } of addresses) {
      const address = path.replace(":account", api.tenants.theirs.account.id);
      const response = await api.fetch(address, { method });
      expect({ method, path, status: response.status }).toEqual({ method, path, status: 403 });
      expect(await response.json()).toMatchObject({ success: false, errors: [{ code: 10_000 }] });
    }
    expect(await api.countRows()).toEqual(before);
  });

  test("every address of an account answers 401 without a token", async () => {
    for (const { method, path } of accountAddresses()) {
      const address = path.replace(":account", api.tenants.ours.account.id);
      const response = await api.fetch(address, { method, headers: { authorization: "" } });
      expect({ path, status: response.status }).toEqual({ path, status: 401 });
    }
  });

  test("workers of another account are not found, listed or touched under our own account", async () => {
    await api.deploy(
      "hello",
      { bindings: [{ type: "secret_text", name: "A", text: "1" }] },
      "theirs",
    );
    const before = await api.countRows();
    expect((await api.call("GET A/workers/scripts")).result).toEqual([]);
    const SCRIPT = "A/workers/scripts/hello";
    const lines = ["settings", "secrets", "versions", "deployments", "subdomain", "references"];
    for (const line of lines) {
      expect((await api.call(`GET ${SCRIPT}/${line}`)).errors[0]?.code, line).toBe(10_007);
    }
    expect((await api.call("DELETE A/workers/services/hello")).errors[0]?.code).toBe(10_007);
    const secret = { name: "A", text: "2", type: "secret_text" };
    expect((await api.call(`PUT ${SCRIPT}/secrets`, secret)).errors[0]?.code).toBe(10_007);
    expect(await api.countRows()).toEqual(before);
  });

  test.each([
    { what: "no token", headers: { authorization: "" } },
    { what: "a wrong token", headers: { authorization: `Bearer atoll_${"0".repeat(16)}_x` } },
    { what: "another scheme", headers: { authorization: "Basic abc" } },
    { what: "a global key", headers: { "x-auth-key": "k", "x-auth-email": "a@b.c" } },
  ])("$what is refused: 10000 for an account, 9109 for who one is", async ({ headers }) => {
    const addresses = { "A/workers/scripts": 10_000, "/user": 9_109, "/accounts": 9_109 };
    for (const [address, code] of Object.entries(addresses)) {
      const response = await api.fetch(address, { headers });
      expect({ address, status: response.status }).toEqual({ address, status: 401 });
      expect(await response.json()).toMatchObject({ errors: [{ code }] });
    }
  });

  test("a token that differs in its last character is refused", async () => {
    const { token } = api.tenants.ours;
    const wrong = `${token.slice(0, -1)}${token.endsWith("A") ? "B" : "A"}`;
    const headers = { authorization: `Bearer ${wrong}` };
    expect((await api.fetch("/accounts", { headers })).status).toBe(401);
    expect((await api.fetch("/accounts")).status).toBe(200);
  });
});
