import { afterAll, beforeEach, expect, test } from "vitest";
import { AccountId, WorkerName } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { AwaitedServices } from "./awaited-services.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  await api?.close();
  api = await ControlPlaneApi.start({ servedWaitMs: 0 });
});
afterAll(() => api.close());

function bound(...services: string[]): object {
  const bindings = services.map((service) => ({ type: "service", name: `S_${service}`, service }));
  return { bindings };
}

async function deploy(name: string, ...services: string[]): Promise<number | undefined> {
  const { success, errors } = await api.deploy(name, { ...bound(...services) });
  return success ? undefined : errors[0]?.code;
}

test.each([
  ["a", "b"],
  ["b", "a"],
])("awaited services: of two bound to each other, %s may come first", async (first, second) => {
  expect(await deploy(first, second)).toBe(10_143);
  expect(await deploy(second, first)).toBeUndefined();
  expect(await deploy(first, second)).toBeUndefined();
  expect(await deploy(second, first)).toBeUndefined();
});

test("awaited services: nobody else is let through for it", async () => {
  expect(await deploy("a", "b")).toBe(10_143);
  expect(await deploy("c", "a")).toBe(10_143);
  expect(await deploy("b", "d")).toBe(10_143);
  const theirs = await api.deploy("b", { ...bound("a") }, "theirs");
  expect(theirs.errors[0]?.code).toBe(10_143);
  expect(await deploy("b", "a", "d")).toBe(10_143);
});

test("awaited services: of many the oldest are forgotten", () => {
  const awaited = new AwaitedServices();
  const account = AccountId.parse("a".repeat(32));
  const refusal = (index: number) => {
    const worker = WorkerName.parse(`w${index}`);
    return { account, worker, missing: WorkerName.parse("missing") };
  };
  for (let index = 0; index <= LIMITS.awaitedServicesMax; index += 1) awaited.note(refusal(index));
  expect(awaited.has(refusal(0))).toBe(false);
  expect(awaited.has(refusal(1))).toBe(true);
  expect(awaited.has(refusal(LIMITS.awaitedServicesMax))).toBe(true);
});
