import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi, type Answer } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

async function create(title: string): Promise<string> {
  return (await api.call("POST A/storage/kv/namespaces", { title })).result.id as string;
}

const remove = (id: string): Promise<Answer> => api.call(`DELETE A/storage/kv/namespaces/${id}`);

const deployBinding = (name: string, id: string): Promise<Answer> =>
  api.deploy(name, { bindings: [{ type: "kv_namespace", name: "KV", namespace_id: id }] });

test("bound namespace: it can't be deleted until nothing that serves binds it", async () => {
  const id = await create("words");
  await deployBinding("reader", id);
  await deployBinding("writer", id);
  expect(await remove(id)).toMatchObject({
    status: 409,
    errors: [{ code: 10_052, message: expect.stringContaining("reader, writer") }],
  });
  // That a text has the same characters binds nothing.
  await api.deploy("writer", { bindings: [{ type: "plain_text", name: "ID", text: id }] });
  const refused = await remove(id);
  expect(refused.errors[0]?.message).toContain("reader");
  expect(refused.errors[0]?.message).not.toContain("writer");
  await api.call("DELETE A/workers/services/reader?force=true");
  expect(await remove(id)).toMatchObject({ success: true });
});

test("bound namespace: a version that binds a deleted one is not deployed again", async () => {
  const id = await create("words");
  await deployBinding("reader", id);
  await api.deploy("reader");
  const { deployments } = (await api.call("GET A/workers/scripts/reader/deployments")).result;
  await remove(id);
  const before = await api.countRows();
  const rollback = await api.call("POST A/workers/scripts/reader/deployments", {
    strategy: "percentage",
    versions: deployments[1].versions,
  });
  expect(rollback).toMatchObject({
    status: 404,
    errors: [{ code: 10_041, message: expect.stringContaining(id) }],
  });
  expect(await api.countRows()).toEqual(before);
});

test("bound namespace: one that is deleted while a worker is being started is not bound", async () => {
  const id = await create("words");
  api.preflight.meanwhile = () => remove(id);
  const deployed = await deployBinding("reader", id);
  expect(deployed).toMatchObject({ status: 404, errors: [{ code: 10_041 }] });
  expect((await api.countRows())["versions"]).toBe(0);
});
