import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi, uploadForm } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

const SCRIPT = "A/workers/scripts/hello";
const SECRETS = `${SCRIPT}/secrets`;

function secret(name: string, text: string) {
  return { name, text, type: "secret_text" };
}

/** The secrets of what serves. */
async function serving(): Promise<unknown> {
  const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
  return worker?.versions[0]?.secrets;
}

describe("secrets: ", () => {
  test("each change is a new version that serves at once, and no answer holds a value", async () => {
    await api.deploy("hello");
    const put = await api.call(`PUT ${SECRETS}`, secret("KEY", "hunter2"));
    expect(put.result).toEqual({ name: "KEY", type: "secret_text" });
    expect(await serving()).toEqual({ KEY: "hunter2" });
    await api.call(`PUT ${SECRETS}`, secret("KEY", "hunter3"));
    await api.call(`PUT ${SECRETS}`, secret("B/C d", "2"));
    expect(await serving()).toEqual({ KEY: "hunter3", "B/C d": "2" });
    expect((await api.call(`GET ${SECRETS}`)).result).toEqual([
      { name: "KEY", type: "secret_text" },
      { name: "B/C d", type: "secret_text" },
    ]);
    expect(await api.call(`DELETE ${SECRETS}/B%2FC%20d?url_encoded=true`)).toMatchObject({
      success: true,
    });
    expect(await serving()).toEqual({ KEY: "hunter3" });
    const { items } = (await api.call(`GET ${SCRIPT}/versions`)).result;
    expect(items[0]).toMatchObject({
      number: 5,
      annotations: { "workers/triggered_by": "secret" },
      resources: { bindings: [{ type: "secret_text", name: "KEY" }] },
    });
    expect(JSON.stringify(items)).not.toContain("hunter");
    expect(JSON.stringify((await api.call(`GET ${SCRIPT}/settings`)).result)).not.toContain(
      "hunter",
    );
  });

  test("values are nowhere in the files of the control plane", async () => {
    await api.deploy("hello", { bindings: [secret("UPLOADED", "needle-one")] });
    await api.call(`PUT ${SECRETS}`, secret("KEY", "needle-two"));
    const files = await readdir(api.directory, { recursive: true, withFileTypes: true });
    for (const file of files.filter((entry) => entry.isFile())) {
      const content = await readFile(join(file.parentPath, file.name));
      expect(content.includes("needle"), file.name).toBe(false);
    }
  });

  test("a deploy keeps secrets unless it says which types to keep", async () => {
    await api.deploy("hello", { bindings: [secret("KEY", "1"), plain("TEXT", "a")] });
    await api.deploy("hello");
    expect(await serving()).toEqual({ KEY: "1" });
    await api.deploy("hello", { bindings: [plain("TEXT", "b")] });
    await api.deploy("hello", { keep_bindings: ["plain_text", "secret_text"] });
    const { bindings } = (await api.call(`GET ${SCRIPT}/settings`)).result;
    expect(bindings).toEqual([plain("TEXT", "b"), { type: "secret_text", name: "KEY" }]);
    await api.deploy("hello", { bindings: [secret("KEY", "2")] });
    expect(await serving()).toEqual({ KEY: "2" });
    await api.deploy("hello", { keep_bindings: [] });
    expect(await serving()).toEqual({});
  });

  test("a bulk change sets and deletes together, or does nothing", async () => {
    await api.deploy("hello", { bindings: [secret("OLD", "1")] });
    const secrets = { OLD: null, NEW: { name: "NEW", text: "2", type: "secret_text" } };
    await api.call(`PATCH ${SCRIPT}/secrets-bulk`, { secrets });
    expect(await serving()).toEqual({ NEW: "2" });
    const half = { secrets: { ...secrets, NEW: null } };
    const { errors } = await api.call(`PATCH ${SCRIPT}/secrets-bulk`, half);
    expect(errors[0]).toMatchObject({ code: 10_056, message: expect.stringContaining("'OLD'") });
    expect(await serving()).toEqual({ NEW: "2" });
  });

  test("settings keep the bindings that are named by type, and drop the rest", async () => {
    const bindings = [secret("KEY", "1"), plain("TEXT", "a"), plain("GONE", "b")];
    await api.deploy("hello", { bindings });
    const kept = [
      { type: "plain_text", name: "TEXT" },
      { type: "secret_text", name: "KEY" },
    ];
    const form = new FormData();
    form.set("settings", JSON.stringify({ bindings: [...kept, secret("NEW", "2")] }));
    expect(await api.call(`PATCH ${SCRIPT}/settings`, form)).toMatchObject({ success: true });
    expect(await serving()).toEqual({ KEY: "1", NEW: "2" });
    const left = (await api.call(`GET ${SCRIPT}/settings`)).result.bindings;
    expect(left.map(({ name }: { name: string }) => name).sort()).toEqual(["KEY", "NEW", "TEXT"]);
    // What wrangler shows as the source of a version that it made to set secrets.
    const [latest] = (await api.call(`GET ${SCRIPT}/versions`)).result.items;
    expect(latest.annotations).toMatchObject({ "workers/triggered_by": "secret" });
    const broken = new FormData();
    expect((await api.call(`PATCH ${SCRIPT}/settings`, broken)).errors[0]?.code).toBe(10_001);
  });

  test("the newest version is patched without being deployed; then plain changes are refused", async () => {
    await api.deploy("hello");
    const env = { KEY: { type: "secret_text", text: "1" } };
    const patch = { env, annotations: { "workers/message": "m" } };
    const patched = await api.call("PATCH A/workers/workers/hello/versions/latest", patch);
    expect(patched.result).toMatchObject({ number: 2 });
    expect(await serving()).toEqual({});
    const before = await api.countRows();
    const refused = await api.call(`PUT ${SECRETS}`, secret("KEY", "2"));
    expect(refused).toMatchObject({ status: 409, errors: [{ code: 10_215 }] });
    expect(await api.countRows()).toEqual(before);
  });

  test("a rollback while a change is being started is not undone", async () => {
    const first = await api.deploy("hello", { bindings: [plain("TEXT", "old")] });
    await api.deploy("hello", { bindings: [plain("TEXT", "new")] });
    const versions = [{ version_id: first.result.deployment_id, percentage: 100 }];
    api.preflight.meanwhile = () =>
      api.call(`POST ${SCRIPT}/deployments`, { strategy: "percentage", versions });
    const refused = await api.call(`PUT ${SECRETS}`, secret("KEY", "1"));
    expect(refused).toMatchObject({ status: 409, errors: [{ code: 10_215 }] });
    expect(await api.countRows()).toMatchObject({ versions: 2, deployments: 3 });
    const [worker] = (await api.controlPlane.desiredState.snapshot()).workers;
    expect(worker?.versions.map(({ version }) => version.number)).toEqual([1]);
  });

  test("bad names, types and sizes are refused, and nothing changes", async () => {
    await api.deploy("hello", { bindings: [plain("TEXT", "a")] });
    const before = await api.countRows();
    const refused: ReadonlyArray<readonly [unknown, number]> = [
      [secret("", "x"), 10_001],
      [secret("__proto__", "x"), 10_001],
      [secret("a\ud800", "x"), 10_001],
      [{ ...secret("KEY", "x"), type: "secret_key" }, 10_001],
      [{ name: "KEY", type: "secret_text" }, 10_001],
      [secret("KEY", "x".repeat(LIMITS.bindingTextBytesMax + 1)), 10_001],
      [secret("TEXT", "x"), 10_053],
      ["not an object", 10_001],
    ];
    for (const [body, code] of refused) {
      expect(await api.call(`PUT ${SECRETS}`, body)).toMatchObject({ errors: [{ code }] });
    }
    expect((await api.call(`DELETE ${SECRETS}/NONE`)).errors[0]?.code).toBe(10_056);
    expect(await api.countRows()).toEqual(before);
    const longest = secret("KEY \u{1f511}", "x".repeat(LIMITS.bindingTextBytesMax));
    expect(await api.call(`PUT ${SECRETS}`, longest)).toMatchObject({ success: true });
    expect(await api.deploy("hello", { bindings: [] })).toMatchObject({ success: true });
  });

  test("are bound together with what else a version binds, however they come", async () => {
    const many = (prefix: string, count: number): Record<string, unknown> =>
      Object.fromEntries(
        Array.from({ length: count }, (_, index) => [
          `${prefix}${index}`,
          { text: "x", type: "secret_text" },
        ]),
      );
    await api.deploy("hello", { bindings: [plain("TEXT", "a")] });
    const bulk = (secrets: unknown) => api.call(`PATCH ${SCRIPT}/secrets-bulk`, { secrets });
    expect((await bulk(many("A", LIMITS.bindingsMax - 1))).status).toBe(200);
    const before = await api.countRows();
    const message = expect.stringContaining(`${LIMITS.bindingsMax + 1} bindings`);
    const refusal = { status: 400, errors: [{ code: 10_021, message }] };
    expect(await api.call(`PUT ${SECRETS}`, secret("ONE", "x"))).toMatchObject(refusal);
    const uploaded = await api.deploy("hello", { bindings: [plain("TEXT", "a"), plain("B", "b")] });
    expect(uploaded).toMatchObject(refusal);
    expect(await api.countRows()).toEqual(before);
    expect((await bulk({ A0: null, ...many("B", 1) })).status).toBe(200);
  });

  test("a worker that does not exist has none", async () => {
    const calls = [`GET ${SECRETS}`, `DELETE ${SECRETS}/KEY`];
    for (const line of calls) expect((await api.call(line)).errors[0]?.code).toBe(10_007);
    const put = await api.call(`PUT ${SECRETS}`, secret("KEY", "x"));
    expect(put.errors[0]?.code).toBe(10_007);
  });

  test("a version brings its own secrets back, but only by force", async () => {
    const first = await api.deploy("hello", { bindings: [secret("A", "1"), secret("B", "1")] });
    await api.deploy("hello", { bindings: [secret("A", "2")] });
    const body = {
      strategy: "percentage",
      versions: [{ version_id: first.result.deployment_id, percentage: 100 }],
    };
    const refused = await api.call(`POST ${SCRIPT}/deployments`, body);
    expect(refused.errors).toEqual([
      { code: 10_220, message: "The following secrets have changed: A" },
    ]);
    expect(await serving()).toEqual({ A: "2", B: "1" });
    await api.call(`POST ${SCRIPT}/deployments?force=true`, body);
    expect(await serving()).toEqual({ A: "1", B: "1" });
  });

  test("inherit by name carries the value over", async () => {
    await api.deploy("hello", { bindings: [secret("A", "1")] });
    const bindings = [{ type: "inherit", name: "A" }];
    await api.call(`POST ${SCRIPT}/versions`, uploadForm({ bindings, keep_bindings: [] }));
    const latest = (await api.call(`GET ${SCRIPT}/versions/latest`)).result;
    const versions = [{ version_id: latest.id, percentage: 100 }];
    await api.call(`POST ${SCRIPT}/deployments`, { strategy: "percentage", versions });
    expect(await serving()).toEqual({ A: "1" });
  });
});

function plain(name: string, text: string) {
  return { type: "plain_text", name, text };
}
