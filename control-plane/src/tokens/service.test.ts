import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi, uploadForm } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

/** Makes a token by the API. */
async function create(grant: Readonly<Record<string, unknown>>) {
  return api.call("POST A/tokens", { name: "ci", role: "deployer", ...grant });
}

/** Status of a call with a token. */
async function statusWith(value: string, path = "/accounts"): Promise<number> {
  return (await api.fetch(path, { headers: { authorization: `Bearer ${value}` } })).status;
}

async function callWith(value: string, line: string, body?: FormData | object) {
  const [method = "GET", path = ""] = line.split(" ");
  const response = await api.fetch(path, {
    method,
    headers: { authorization: `Bearer ${value}` },
    ...(body === undefined ? {} : { body: body instanceof FormData ? body : JSON.stringify(body) }),
  });
  return { status: response.status, body: await response.text() };
}

describe("tokens: ", () => {
  test("one is made, shown once, listed without itself, and its hash alone is stored", async () => {
    const { result } = await create({ worker: "hello", expires_at: "2099-01-01T00:00:00Z" });
    expect(result).toMatchObject({
      ...{ name: "ci", role: "deployer", worker: "hello", namespace: null },
      ...{ expires_at: "2099-01-01T00:00:00.000Z", last_used_at: null },
    });
    expect(result.value).toMatch(/^atoll_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$/);
    const listed = await api.call("GET A/tokens");
    const { value: _value, ...listedAs } = result;
    expect(listed.result).toHaveLength(2);
    expect(listed.result).toContainEqual(listedAs);
    expect(JSON.stringify(listed)).not.toContain(result.value);
    const rows = await api.controlPlane.database.selectFrom("api_tokens").selectAll().execute();
    const audit = await api.controlPlane.database.selectFrom("audit").selectAll().execute();
    const secret = result.value.split("_")[2];
    expect(JSON.stringify([rows, audit])).not.toContain(secret);
    const hash = rows.find(({ id }) => id === result.id)?.token_hash;
    expect(JSON.stringify([listed, audit])).not.toContain(hash);
  });

  test("one holds until the moment at which it expires, and not in that", async () => {
    const expiresAtMs = api.clock.nowMs() + 60_000;
    const { result } = await create({ expires_at: new Date(expiresAtMs).toISOString() });
    api.clock.advanceMs(59_999);
    expect(await statusWith(result.value)).toBe(200);
    api.clock.advanceMs(1);
    expect(await statusWith(result.value)).toBe(401);
    expect((await create({ expires_at: new Date(expiresAtMs).toISOString() })).status).toBe(400);
  });

  test("one that was revoked is refused at once, and only by its own account", async () => {
    const { result } = await create({});
    expect(await statusWith(result.value)).toBe(200);
    const foreign = await api.call(`DELETE A/tokens/${result.id}`, undefined, "theirs");
    expect(foreign.status).toBe(404);
    expect(await statusWith(result.value)).toBe(200);
    expect((await api.call(`DELETE A/tokens/${result.id}`)).status).toBe(200);
    expect(await statusWith(result.value)).toBe(401);
    expect((await api.call(`DELETE A/tokens/${result.id}`)).status).toBe(404);
  });

  test("the last admin token that does not expire can't be revoked", async () => {
    const [operator] = (await api.call("GET A/tokens")).result;
    expect(operator).toMatchObject({ name: "operator", role: "admin", expires_at: null });
    await create({ role: "admin", expires_at: "2099-01-01T00:00:00Z" });
    expect((await api.call(`DELETE A/tokens/${operator.id}`)).status).toBe(409);
    const { result } = await create({ role: "admin" });
    expect((await callWith(result.value, `DELETE A/tokens/${operator.id}`)).status).toBe(200);
  });

  test("its last use is kept to the minute", async () => {
    const { result } = await create({ role: "viewer" });
    const lastUse = async () => {
      const { result: tokens } = await api.call("GET A/tokens");
      return tokens.find(({ id }: { id: string }) => id === result.id).last_used_at;
    };
    expect(await lastUse()).toBeNull();
    await statusWith(result.value);
    const first = new Date(api.clock.nowMs()).toISOString();
    expect(await lastUse()).toBe(first);
    api.clock.advanceMs(LIMITS.lastSeenMs - 1);
    await statusWith(result.value);
    expect(await lastUse()).toBe(first);
    api.clock.advanceMs(1);
    await statusWith(result.value);
    expect(await lastUse()).toBe(new Date(api.clock.nowMs()).toISOString());
  });

  test("a token tells about itself, and the account's role in wrangler's words", async () => {
    const { result } = await create({ role: "viewer" });
    const own = await callWith(result.value, "GET A/tokens/verify");
    expect(JSON.parse(own.body).result).toMatchObject({ id: result.id, status: "active" });
    const who = await callWith(result.value, "GET /user/tokens/verify");
    expect(JSON.parse(who.body).errors[0].code).toBe(1_000);
    const memberships = await callWith(result.value, "GET /memberships");
    expect(JSON.parse(memberships.body).result[0].roles).toEqual(["Viewer"]);
  });

  test.each([
    { what: "no role", grant: { role: undefined } },
    { what: "an unknown role", grant: { role: "owner" } },
    { what: "no name", grant: { name: "" } },
    { what: "a name of 101 characters", grant: { name: "x".repeat(101) } },
    { what: "a name with a line break", grant: { name: "a\nb" } },
    { what: "a worker and a namespace", grant: { worker: "a", namespace: "0".repeat(32) } },
    { what: "an admin of one worker", grant: { role: "admin", worker: "a" } },
    { what: "a bad worker", grant: { worker: "A/B" } },
    { what: "a bad namespace", grant: { namespace: "x" } },
    { what: "a bad time", grant: { expires_at: "tomorrow" } },
    { what: "a time that has passed", grant: { expires_at: "2001-01-01T00:00:00Z" } },
    { what: "an unknown field", grant: { scopes: [] } },
  ])("$what is refused and makes nothing", async ({ grant }) => {
    const before = (await api.call("GET A/tokens")).result.length;
    expect((await create(grant)).status).toBe(400);
    expect((await api.call("GET A/tokens")).result).toHaveLength(before);
  });

  test("a viewer sees the names of keys, and nothing of what they or requests hold", async () => {
    const { result: namespace } = await api.call("POST A/storage/kv/namespaces", { title: "t" });
    const keys = `A/storage/kv/namespaces/${namespace.id}`;
    const entry = { key: "name", value: "content", metadata: { of: "content" } };
    const lasting = { ...entry, expiration: Math.floor(api.clock.nowMs() / 1_000) + 600 };
    expect((await api.call(`PUT ${keys}/bulk`, [lasting])).status).toBe(200);
    await api.deploy("hello");
    const [viewer, narrow, deployer] = await Promise.all(
      [
        { role: "viewer" },
        { role: "viewer", namespace: namespace.id },
        { role: "deployer", namespace: namespace.id },
      ].map(async (grant) => (await create(grant)).result.value as string),
    );
    const { expiration } = lasting;
    for (const token of [viewer, narrow]) {
      const listed = await callWith(token ?? "", `GET ${keys}/keys`);
      expect(JSON.parse(listed.body).result).toEqual([{ name: "name", expiration }]);
      expect((await callWith(token ?? "", `GET ${keys}/status`)).status).toBe(200);
      for (const line of ["values/name", "metadata/name", "export"]) {
        const refused = await callWith(token ?? "", `GET ${keys}/${line}`);
        expect(refused, line).toMatchObject({ status: 403 });
        expect(refused.body).toContain("the role deployer");
        expect(refused.body).not.toContain("content");
      }
      const many = await callWith(token ?? "", `POST ${keys}/bulk/get`, { keys: ["name"] });
      expect(many.status).toBe(403);
    }
    const whole = await callWith(deployer ?? "", `GET ${keys}/keys`);
    expect(JSON.parse(whole.body).result).toEqual([
      { name: "name", expiration, metadata: { of: "content" } },
    ]);
    expect((await callWith(deployer ?? "", `GET ${keys}/values/name`)).body).toBe("content");
    const tail = "A/workers/scripts/hello/tails";
    expect((await callWith(viewer ?? "", `POST ${tail}`, { filters: [] })).status).toBe(403);
    expect((await callWith(viewer ?? "", `GET ${tail}`)).status).toBe(200);
  });

  test("a namespace of another account is not one to be scoped to", async () => {
    const { result } = await api.call("POST A/storage/kv/namespaces", { title: "t" }, "theirs");
    expect((await create({ namespace: result.id })).status).toBe(404);
  });

  test("an account has a bounded number of them", async () => {
    const { account } = api.principal();
    const row = { account_id: account, name: "x", token_hash: "", created_at: "2026" };
    for (let index = 1; index < LIMITS.tokensMax; index += 1) {
      const values = { ...row, id: String(index) };
      await api.controlPlane.database.insertInto("api_tokens").values(values).execute();
    }
    const refused = await create({});
    expect(refused).toMatchObject({ status: 400, success: false });
    expect(refused.errors[0]?.message).toContain("the limit is 1000");
  });

  test("one of a worker deploys it, and reaches nothing else through it", async () => {
    const { result: namespace } = await api.call("POST A/storage/kv/namespaces", { title: "t" });
    const kv = { type: "kv_namespace", name: "KV", namespace_id: namespace.id };
    await api.deploy("other");
    const { value } = (await create({ worker: "hello" })).result;
    const upload = (bindings: ReadonlyArray<object>) =>
      callWith(value, "PUT A/workers/scripts/hello", uploadForm({ bindings }));
    expect((await upload([])).status).toBe(200);
    const refused = await upload([kv]);
    expect(refused.status).toBe(403);
    expect(refused.body).toContain("can't give it the new binding 'KV'");
    const service = { type: "service", name: "OTHER", service: "other" };
    expect((await upload([service])).status).toBe(403);
    // What an account's token has bound, it may keep.
    await api.deploy("hello", { bindings: [kv] });
    expect((await upload([kv])).status).toBe(200);
    expect((await upload([{ ...service, service: "hello" }])).status).toBe(200);
  });

  test("one of a worker makes no other worker hear of it", async () => {
    await api.deploy("other");
    const { value } = (await create({ worker: "hello" })).result;
    const consumers = { tail_consumers: [{ service: "other" }] };
    const upload = (metadata: object) =>
      callWith(value, "PUT A/workers/scripts/hello", uploadForm({ ...metadata }));
    const patch = (settings: object) =>
      callWith(value, "PATCH A/workers/scripts/hello/script-settings", settings);
    expect((await upload(consumers)).status).toBe(403);
    expect((await upload({})).status).toBe(200);
    const refused = await patch(consumers);
    expect(refused.status).toBe(403);
    expect(refused.body).toContain("can't make 'other' hear of it");
    // What an account's token has set, it may keep, and give up.
    await api.deploy("hello", consumers);
    for (const call of [upload, patch]) expect((await call(consumers)).status).toBe(200);
    expect((await patch({ tail_consumers: [] })).status).toBe(200);
    expect((await upload(consumers)).status).toBe(403);
  });

  test("one of a worker deploys it with routes again, and is not told of others' routes", async () => {
    await api.deploy("hello");
    await api.deploy("other");
    const { value } = (await create({ worker: "hello" })).result;
    for (const name of ["hello", "other"]) {
      await api.call(`PUT A/workers/scripts/${name}/routes`, [{ pattern: `${name}.example/*` }]);
    }
    const routesBelow = async (zone: string): Promise<unknown> => {
      const { result } = await api.call(`GET /zones?name=${zone}`);
      // What wrangler asks after an upload where nothing but routes leads to the worker.
      const { status, body } = await callWith(value, `GET /zones/${result[0].id}/workers/routes`);
      return { status, result: (JSON.parse(body) as { result: unknown }).result };
    };
    expect(await routesBelow("hello.example")).toMatchObject({
      status: 200,
      result: [{ pattern: "hello.example/*", script: "hello" }],
    });
    expect(await routesBelow("other.example")).toEqual({ status: 200, result: [] });
  });

  test("one of a worker takes no requests of another worker", async () => {
    await api.deploy("hello");
    await api.deploy("other");
    const domains = (worker: string) => `PUT A/workers/scripts/${worker}/domains/records`;
    const origins = [{ hostname: "shop.example" }];
    const taking = { override_existing_origin: true, origins };
    expect((await api.call(domains("other"), { origins })).status).toBe(200);
    const { value } = (await create({ worker: "hello" })).result;
    const route = (pattern: string) =>
      callWith(value, "PUT A/workers/scripts/hello/routes", [{ pattern }]);
    expect((await route("own.example/*")).status).toBe(200);
    expect((await route("other.atoll.test/login")).status).toBe(403);
    expect((await route("shop.example/login")).status).toBe(403);
    expect((await callWith(value, domains("hello"), taking)).status).toBe(409);
    expect((await api.call(domains("hello"), taking)).status).toBe(200);
  });
});
