import { Hono } from "hono";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createAssetDecoder } from "../assets/asset-decoder.ts";
import { createKvNamespaceRoutes } from "../kv-namespaces/routes.ts";
import { EntriesService } from "../kv-namespaces/entries-service.ts";
import { NamespacesService } from "../kv-namespaces/service.ts";
import { createResources } from "../resources.ts";
import { HostNames } from "../routes/host-names.ts";
import { MasterKeys } from "../secrets/master-keys.ts";
import { SecretSealer } from "../secrets/sealing.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { ROLES, TokenRequest } from "../tokens/schemas.ts";
import { UsageService } from "../usage/service.ts";
import { VersionStore } from "../versions/store.ts";
import { createApi } from "./api.ts";
import { permissionOf, type Permission } from "./permissions.ts";
import { createLimiters } from "./rate-limits.ts";
import type { ApiEnvironment } from "./request-context.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

interface Address {
  readonly method: string;
  /** With `:account`, and its other parameters filled in. */
  readonly path: string;
  /** As the route was written. */
  readonly route: string;
  readonly permission: Permission;
}

/** Every router of the API. */
function allRouters(): ReadonlyArray<Hono<ApiEnvironment>> {
  const { controlPlane, preflight, clock } = api;
  const { database, mutations, blobs, accounts, tokens } = controlPlane;
  const masterKey = new Uint8Array(32);
  const sealer = new SecretSealer(MasterKeys.of(masterKey));
  const versions = new VersionStore(sealer);
  const hostNames = new HostNames({ baseDomain: "atoll.test", publicPort: 80 });
  const services = {
    database,
    mutations,
    versions,
    sealer,
    blobs,
    decoder: createAssetDecoder(),
    accounts,
    tokens,
    hostNames,
    preflight,
    clock,
    ownershipRule: "auto" as const,
    resolver: { resolve: () => Promise.resolve([]) },
  };
  const usage = new UsageService({ database, clock, log: pino({ level: "silent" }) });
  const { resources } = createResources({ ...services, usage, uploadTokenKey: masterKey });
  // The origin is only called by handlers, and this test calls none of these.
  const origin = undefined as never;
  const kv = createKvNamespaceRoutes({
    namespaces: new NamespacesService({ database, mutations, origin }),
    entries: new EntriesService({ origin, blobs }),
    management: undefined as never,
    charges: undefined as never,
  });
  return [...resources, kv];
}

/** Every address of the API, with what it declares. */
function addresses(): ReadonlyArray<Address> {
  return allRouters()
    .flatMap((router) => router.routes)
    .flatMap(({ method, path, handler }) => {
      const permission = permissionOf(handler);
      if (permission === undefined) return [];
      const filled = path.replace("*", "hello").replaceAll(/:(?!account)\w+(\{.*?\})?/g, "hello");
      return [{ method: method === "ALL" ? "GET" : method, path: filled, route: path, permission }];
    });
}

/** Every address of the API that names an account. */
function accountAddresses(): ReadonlyArray<Address> {
  return addresses().filter(({ path }) => path.startsWith("/accounts/:account"));
}

/** A new token of ours. */
async function tokenFor(grant: Readonly<Record<string, string>>): Promise<string> {
  const request = TokenRequest.parse({ name: "test", ...grant });
  return (await api.controlPlane.tokens.create(api.principal(), request)).value;
}

describe("tenancy: ", () => {
  test("every address of another account answers 403 to a token of ours and changes nothing", async () => {
    await api.deploy("hello", {}, "theirs");
    const before = await api.countRows();
    expect(accountAddresses().length).toBeGreaterThan(40);
    for (const { method, path } of accountAddresses()) {
      const address = path.replace(":account", api.tenants.theirs.account.id);
      const response = await api.fetch(address, { method });
      expect({ method, path, status: response.status }).toEqual({ method, path, status: 403 });
      expect(await response.json()).toMatchObject({ success: false, errors: [{ code: 10_000 }] });
    }
    expect(await api.countRows()).toEqual(before);
  });

  test("no role and no scope opens an address of another account", async () => {
    const { id: namespace } = (await api.call("POST A/storage/kv/namespaces", { title: "ours" }))
      .result as { readonly id: string };
    const grants = [
      { role: "viewer" },
      { role: "deployer" },
      { role: "deployer", worker: "hello" },
      { role: "deployer", namespace },
    ];
    const before = await api.countRows();
    for (const grant of grants) {
      const authorization = `Bearer ${await tokenFor(grant)}`;
      for (const { method, path } of accountAddresses()) {
        const address = path.replace(":account", api.tenants.theirs.account.id);
        const { status } = await api.fetch(address, { method, headers: { authorization } });
        expect({ method, path, status }).toEqual({ method, path, status: 403 });
      }
    }
    const after = await api.countRows();
    expect(after).toEqual({ ...before, audit: (before["audit"] ?? 0) + grants.length });
  });

  test.each(ROLES)(
    "a token with the role %s is refused exactly what needs a higher one",
    async (role) => {
      const authorization = `Bearer ${await tokenFor({ role })}`;
      for (const { method, path, permission } of addresses()) {
        const address = path.replace(":account", api.tenants.ours.account.id);
        const { status } = await api.fetch(address, { method, headers: { authorization } });
        const isRefused = ROLES.indexOf(role) < ROLES.indexOf(permission.role);
        expect({ method, path, isRefused: status === 403 }).toEqual({ method, path, isRefused });
      }
    },
  );

  test("a token of one worker or namespace is refused everything else of its account", async () => {
    const { id: namespace } = (await api.call("POST A/storage/kv/namespaces", { title: "ours" }))
      .result as { readonly id: string };
    const tokens: ReadonlyArray<{
      readonly subject: "worker" | "namespace";
      readonly name: string;
      readonly grant: Readonly<Record<string, string>>;
    }> = [
      { subject: "worker", name: "hello", grant: { role: "deployer", worker: "hello" } },
      { subject: "worker", name: "other", grant: { role: "deployer", worker: "other" } },
      { subject: "namespace", name: namespace, grant: { role: "deployer", namespace } },
      { subject: "namespace", name: "other", grant: { role: "deployer", namespace } },
    ];
    // All of them first: what one may delete, the next can't be made for.
    const values = await Promise.all(tokens.map(({ grant }) => tokenFor(grant)));
    for (const [index, { subject, name }] of tokens.entries()) {
      const headers = { authorization: `Bearer ${values[index]}` };
      for (const { method, path, route, permission } of addresses()) {
        const own = subject === "worker" ? "hello" : name;
        const address = path
          .replace(":account", api.tenants.ours.account.id)
          .replace(/namespaces\/hello/, `namespaces/${own}`);
        const { status } = await api.fetch(address, { method, headers });
        const isNamed = subject === "worker" ? name === "hello" : name === namespace;
        const isAllowed =
          permission.subject === "token" || (permission.subject === subject && isNamed);
        expect({ method, route, isRefused: status === 403 }).toEqual({
          method,
          route,
          isRefused: !isAllowed,
        });
      }
    }
  });

  test("a route that declares no permission keeps the API from starting", () => {
    const forgotten = new Hono<ApiEnvironment>();
    forgotten.get("/accounts/:account/forgotten", (context) => context.json({}));
    const build = (resources: ReadonlyArray<Hono<ApiEnvironment>>) =>
      createApi({
        limiters: createLimiters(api.clock),
        verifyToken: () => Promise.resolve(undefined),
        selfAuthenticated: [],
        whenServed: () => Promise.resolve(),
        resources,
      });
    expect(() => build(allRouters())).not.toThrow();
    expect(() => build([...allRouters(), forgotten])).toThrow(
      "the route GET /accounts/:account/forgotten declares no permission",
    );
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
