import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { FollowingNode } from "../test-support/following-node.ts";
import { FleetStatus } from "./status.ts";

// Longer than anything waits for, so that a deploy that is answered has been applied.
const SERVED_WAIT_MS = 15_000;

let server: PostgresServer;
let first: ControlPlaneApi;
let second: ControlPlaneApi;
const nodes: FollowingNode[] = [];
beforeAll(async () => {
  server = await PostgresServer.start();
});
beforeEach(async () => {
  const databaseUrl = server.url(await server.createDatabase());
  first = await ControlPlaneApi.start({ databaseUrl, servedWaitMs: SERVED_WAIT_MS });
  second = await first.startAnother({ servedWaitMs: SERVED_WAIT_MS });
});
afterEach(async () => {
  for (const node of nodes.splice(0)) node.leave();
  await second.controlPlane.close();
  await first.close();
});
afterAll(() => server.remove());

async function enrol(name: string): Promise<FollowingNode> {
  const node = await FollowingNode.enrol(first, name);
  nodes.push(node);
  return node;
}

/** `status` as a control plane tells it to the operator. */
async function statusAt(api: ControlPlaneApi): Promise<FleetStatus> {
  const { token } = api.tenants.ours;
  const response = await fetch(`${api.controlPlane.url}/console/status`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return FleetStatus.parse(await response.json());
}

function connectedAt(api: ControlPlaneApi, names: ReadonlyArray<string>): Promise<void> {
  return waitFor(async () => {
    const { nodes: all } = await statusAt(api);
    const connected = all.filter((node) => node.connected).map(({ name }) => name);
    expect(connected).toEqual([...names]);
  });
}

test("control planes on one database: a deploy at either is answered when the nodes of both serve it", async () => {
  const [here, there] = [await enrol("here"), await enrol("there")];
  await here.connect(first);
  await there.connect(second);
  await connectedAt(first, ["here", "there"]);
  await connectedAt(second, ["here", "there"]);
  for (const [index, api] of [first, second, first, second].entries()) {
    const { status, result } = await api.deploy("hello");
    expect(status).toBe(200);
    const id = result.deployment_id ?? result.id;
    const key = `${first.tenants.ours.account.id}/hello`;
    const running = [here, there].map((node) => node.workers.get(key));
    expect(new Set(running).size, `deploy ${index}`).toBe(1);
    expect(here.revision).toBe(index + 1);
    expect(there.revision).toBe(index + 1);
    expect(id).toBeDefined();
  }
  await waitFor(async () => {
    const { nodes: shown } = await statusAt(first);
    expect(shown.map(({ revision }) => revision)).toEqual([4, 4]);
  });
});

test("control planes on one database: what one was told of a worker the other one knows", async () => {
  await first.deploy("hello");
  const secret = { name: "KEY", text: "hunter2", type: "secret_text" };
  expect((await second.call("PUT A/workers/scripts/hello/secrets", secret)).status).toBe(200);
  const { result } = await first.call("GET A/workers/scripts/hello/secrets");
  expect(result).toMatchObject([{ name: "KEY" }]);
  const namespace = await second.call("POST A/storage/kv/namespaces", { title: "words" });
  expect((await first.call("POST A/storage/kv/namespaces", { title: "words" })).status).toBe(400);
  const { result: listed } = await first.call("GET A/storage/kv/namespaces");
  expect(listed).toMatchObject([{ id: namespace.result.id }]);
});

test("control planes on one database: a node moves, and both say where it is", async () => {
  const node = await enrol("fra-1");
  for (const [index, api] of [first, second, first, second].entries()) {
    await node.connect(api);
    await connectedAt(first, ["fra-1"]);
    await connectedAt(second, ["fra-1"]);
    await first.deploy("hello");
    expect(node.revision).toBe(index + 1);
  }
  node.leave();
  await connectedAt(first, []);
  await connectedAt(second, []);
});

test("control planes on one database: when one ends, the other goes on with its nodes", async () => {
  const node = await enrol("fra-1");
  await node.connect(second);
  await connectedAt(first, ["fra-1"]);
  await second.controlPlane.close();
  await connectedAt(first, []);
  expect((await first.deploy("hello")).status).toBe(200);
  await node.connect(first);
  await waitFor(() => expect(node.revision).toBe(1));
  await connectedAt(first, ["fra-1"]);
});

test("control planes on one database: deploys of one worker at the same time are versions one after the other", async () => {
  await first.deploy("hello");
  const answers = await Promise.all([first.deploy("hello"), second.deploy("hello")]);
  expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  const { result } = await second.call("GET A/workers/scripts/hello/versions");
  expect(result.items.map(({ number }: { number: number }) => number)).toEqual([3, 2, 1]);
});

test("control planes on one database: one with another master key does not start", async () => {
  const other = ControlPlaneApi.start({ databaseUrl: first.databaseUrl ?? "" });
  await expect(other).rejects.toMatchObject({ code: "secret_unreadable" });
});
