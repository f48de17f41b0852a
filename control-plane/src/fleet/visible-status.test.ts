import { afterEach, beforeEach, expect, test } from "vitest";
import type { Principal } from "../http/request-context.ts";
import { WorkerName } from "../contract/index.ts";
import { NamespaceId } from "@atoll/kv-store";
import { ControlPlaneApi, type Tenant } from "../test-support/control-plane-api.ts";
import { FleetStatus } from "./status.ts";
import { visibleStatus } from "./visible-status.ts";

let api: ControlPlaneApi;
let namespaces: Readonly<Record<Tenant, string>>;
let status: FleetStatus;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  api.clock.advanceMs(1);
  const create = async (tenant: Tenant): Promise<string> => {
    await api.deploy(tenant, {}, tenant);
    return (await api.call("POST A/storage/kv/namespaces", { title: "t" }, tenant)).result.id;
  };
  namespaces = { ours: await create("ours"), theirs: await create("theirs") };
  const keyOf = (tenant: Tenant): string => `${api.tenants[tenant].account.id}/${tenant}`;
  const both = ["ours", "theirs"] as const;
  const cell = { version: "v", state: "warm", pid: 1, memoryBytes: 1, cpuMs: 1 };
  const at = "2026-01-01T00:00:00Z";
  status = FleetStatus.parse({
    revision: 1,
    workers: both.map((name) => ({ name, version: "v", createdAt: at, routes: [] })),
    nodes: [
      {
        ...{ name: "fra", region: "fra", revision: 1, connected: true },
        failures: both.map((each) => ({ worker: keyOf(each), version: "v", reason: "r" })),
        cells: both.map((each) => ({ ...cell, workers: [keyOf(each)] })),
        kv: both.map((each) => ({ namespace: namespaces[each], revision: 1, lagMs: 1 })),
        cellFaults: both.map((each) => ({ at, workers: [keyOf(each)], reason: "crashed" })),
        cellEnds: { crashed: 2 },
      },
    ],
  });
});
afterEach(() => api.close());

async function seenBy(tenant: Tenant, scope: Principal["scope"] = { kind: "account" }) {
  const principal = { ...api.principal(tenant), scope };
  return visibleStatus(api.controlPlane.database, principal, status);
}

test("fleet status: the operator's account sees all, another its own", async () => {
  const [first] = await api.controlPlane.accounts.list();
  const operator = first?.name === "Ours" ? "ours" : "theirs";
  const other = operator === "ours" ? "theirs" : "ours";
  expect(await seenBy(operator)).toEqual(status);
  const seen = await seenBy(other);
  expect(seen.workers.map(({ name }) => name)).toEqual([other]);
  const [node] = seen.nodes;
  expect(node).toMatchObject({ name: "fra", kv: [{ namespace: namespaces[other] }], cellEnds: {} });
  expect([node?.failures, node?.cells, node?.cellFaults].map((list) => list?.length)).toEqual([
    1, 1, 1,
  ]);
  expect(JSON.stringify(seen)).not.toContain(api.tenants[operator].account.id);
  expect(JSON.stringify(seen)).not.toContain(namespaces[operator]);
});

test("fleet status: a token of one worker or namespace sees that alone, the operator's too", async () => {
  const worker = await seenBy("ours", { kind: "worker", worker: WorkerName.parse("ours") });
  expect(worker.workers.map(({ name }) => name)).toEqual(["ours"]);
  expect(worker.nodes[0]).toMatchObject({ kv: [], cells: [{}] });
  const namespace = NamespaceId.parse(namespaces.ours);
  const keys = await seenBy("ours", { kind: "namespace", namespace });
  expect(keys).toMatchObject({ workers: [], nodes: [{ kv: [{ namespace }], cells: [] }] });
  const foreign = await seenBy("ours", { kind: "worker", worker: WorkerName.parse("theirs") });
  expect(foreign).toMatchObject({ workers: [], nodes: [{ cells: [], failures: [] }] });
});
