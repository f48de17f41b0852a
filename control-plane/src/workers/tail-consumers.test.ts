import { afterAll, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  await api?.close();
  api = await ControlPlaneApi.start({ servedWaitMs: 0 });
  await api.deploy("listener");
});
afterAll(() => api.close());

const LISTENER = { tail_consumers: [{ service: "listener" }] };

/** Who hears of each worker, as nodes are told. */
async function consumers(): Promise<Readonly<Record<string, ReadonlyArray<string>>>> {
  const { workers } = await api.controlPlane.desiredState.snapshot();
  return Object.fromEntries(workers.map(({ name, tailConsumers }) => [name, tailConsumers]));
}

async function patch(name: string, settings: unknown) {
  return api.call(`PATCH A/workers/scripts/${name}/script-settings`, settings);
}

test("tail consumers: are set with an upload, stay without a word, and are shown", async () => {
  expect((await api.deploy("hello", LISTENER)).success).toBe(true);
  expect(await consumers()).toEqual({ hello: ["listener"], listener: [] });
  await api.deploy("hello");
  expect(await consumers()).toEqual({ hello: ["listener"], listener: [] });
  const { result } = await api.call("GET A/workers/scripts/hello/script-settings");
  expect(result.tail_consumers).toEqual([{ service: "listener" }]);
  await api.deploy("hello", { tail_consumers: [] });
  expect(await consumers()).toEqual({ hello: [], listener: [] });
});

test("tail consumers: are changed by themselves, which nodes are told", async () => {
  await api.deploy("hello");
  const before = await api.controlPlane.desiredState.revision();
  expect((await patch("hello", LISTENER)).success).toBe(true);
  expect(await consumers()).toMatchObject({ hello: ["listener"] });
  expect(await api.controlPlane.desiredState.revision()).toBe(before + 1);
  await patch("hello", { ...LISTENER, logpush: true });
  expect(await api.controlPlane.desiredState.revision()).toBe(before + 1);
});

test("tail consumers: of a version that does not serve change nothing", async () => {
  await api.deploy("hello");
  const form = new FormData();
  const metadata = { main_module: "index.js", compatibility_date: "2026-04-01", ...LISTENER };
  form.set("metadata", JSON.stringify(metadata));
  const type = "application/javascript+module";
  form.append("index.js", new File(["export default {}"], "index.js", { type }));
  expect((await api.call("POST A/workers/scripts/hello/versions", form)).success).toBe(true);
  expect(await consumers()).toMatchObject({ hello: [] });
});

test("tail consumers: that do not exist, or are of another account, are refused", async () => {
  await api.deploy("foreign", {}, "theirs");
  await api.deploy("hello");
  for (const service of ["nobody", "foreign"]) {
    const { status, errors } = await patch("hello", { tail_consumers: [{ service }] });
    expect([status, errors[0]?.code]).toEqual([400, 10_144]);
    expect(errors[0]?.message).toContain(`tail consumer '${service}' does not exist`);
  }
  expect(await consumers()).toMatchObject({ hello: [] });
});

test("tail consumers: that would hear of themselves are refused, also through others", async () => {
  await api.deploy("hello", LISTENER);
  await api.deploy("last", {});
  await patch("listener", { tail_consumers: [{ service: "last" }] });
  for (const service of ["last", "listener", "hello"]) {
    const { errors } = await patch("last", { tail_consumers: [{ service }] });
    expect([service, errors[0]?.code]).toEqual([service, 10_144]);
    expect(errors[0]?.message).toContain("would hear what happens to itself");
  }
});

test("tail consumers: who is one is told before it is deleted", async () => {
  await api.deploy("hello", LISTENER);
  const { result } = await api.call("GET A/workers/tails/by-consumer/listener");
  expect(result).toEqual([
    {
      consumer: { service: "listener", environment: "production" },
      producer: { service: "hello", environment: "production" },
    },
  ]);
  expect((await api.call("GET A/workers/tails/by-consumer/hello")).result).toEqual([]);
});
