import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { PostgresProxy } from "@atoll/kv-store/test-support/postgres-proxy";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi, type Answer } from "../test-support/control-plane-api.ts";
import { FollowingNode } from "../test-support/following-node.ts";
import { usageBatchOf } from "../test-support/usage-batch.ts";
import type { Database } from "./database.ts";
import { openDatabase } from "./open-database.ts";

let server: PostgresServer;
let proxy: PostgresProxy;
let api: ControlPlaneApi;
beforeAll(async () => {
  server = await PostgresServer.start();
});
beforeEach(async () => {
  proxy = await PostgresProxy.open(server.directory);
  const databaseUrl = server.url(await server.createDatabase(), proxy.directory);
  api = await ControlPlaneApi.start({ databaseUrl });
});
afterEach(async () => {
  await api.close();
  await proxy.close();
});
afterAll(() => server.remove());

function expectUnavailable(answer: Answer): void {
  expect(answer).toMatchObject({ status: 503, success: false, result: null });
  expect(answer.errors[0]?.code).toBe(10_002);
  expect(answer.errors[0]?.message).toMatch(/database.*(try again soon|before you repeat it)/i);
}

/** Repeats a call until it is answered well. */
function recovers(call: () => Promise<Answer>): Promise<Answer> {
  return waitFor(async () => {
    const answer = await call();
    expect(answer.status).toBe(200);
    return answer;
  });
}

test("database gone and back: calls are refused with advice, nothing is half there, and it goes on by itself", async () => {
  await api.deploy("hello");
  const before = await api.countRows();
  await server.kill();
  expectUnavailable(await api.deploy("hello"));
  expectUnavailable(await api.call("GET A/workers/scripts"));
  const refused = await api.fetch("A/workers/scripts");
  expect(refused.headers.get("retry-after")).toBe("2");
  await refused.body?.cancel();
  await server.restart();
  await recovers(() => api.call("GET A/workers/scripts"));
  expect(await api.countRows()).toEqual(before);
  expect((await api.deploy("hello")).status).toBe(200);
  expect(await api.controlPlane.desiredState.revision()).toBe(2);
}, 60_000);

test("database gone and back: a node keeps what it runs, and follows again", async () => {
  const node = await FollowingNode.enrol(api, "fra-1");
  await node.connect(api);
  await api.deploy("hello");
  await server.kill();
  node.send({ kind: "usage", batch: usageBatchOf(api.tenants.ours.account.id) });
  await waitFor(() => expect(node.closeCode).toBe(1013));
  await server.restart();
  await waitFor(() => node.connect(api));
  await recovers(() => api.deploy("hello"));
  await waitFor(() => expect(node.revision).toBe(2));
}, 60_000);

test("connections cut: the calls on them fail, and the next ones do not", async () => {
  await api.deploy("hello");
  proxy.cut();
  await recovers(() => api.call("GET A/workers/scripts"));
  expect((await api.deploy("hello")).status).toBe(200);
});

test("commit without an answer: the caller is told that it may have happened, and it is whole", async () => {
  await api.deploy("hello");
  proxy.loseCommits();
  const answer = await api.deploy("hello");
  expectUnavailable(answer);
  expect(answer.errors[0]?.message).toMatch(/may or may not have been made/);
  proxy.recover();
  await recovers(() => api.call("GET A/workers/scripts"));
  const { versions, deployments, state_changes: changes } = await api.countRows();
  expect([versions, deployments, changes]).toEqual([2, 2, 2]);
  expect(await api.controlPlane.desiredState.revision()).toBe(2);
});

test("a control plane that is stuck in a change holds the others up for no longer than the database lets it", async () => {
  const stuck: Database = await openDatabase({
    dataDirectory: api.directory,
    databaseUrl: api.databaseUrl,
  });
  const held = Promise.withResolvers<void>();
  const isOver = Promise.withResolvers<void>();
  const holding = stuck.transaction().execute(async (transaction) => {
    await transaction.selectFrom("accounts").select("id").execute();
    held.resolve();
    await isOver.promise;
    await transaction.updateTable("accounts").set({ name: "too late" }).execute();
  });
  holding.catch(() => {}); // looked at below
  await held.promise;
  expect((await api.deploy("hello")).status).toBe(200);
  isOver.resolve();
  await expect(holding).rejects.toMatchObject({ code: "database_unavailable" });
  expect((await api.call("GET A/workers/scripts")).result).toHaveLength(1);
  await stuck.destroy();
}, 30_000);

test("text that PostgreSQL can't hold is the caller's mistake", async () => {
  const { status, errors } = await api.call("POST A/tokens", { name: "a\0b", role: "viewer" });
  expect(status).toBe(400);
  expect(errors[0]?.message).toMatch(/NUL|name/);
});
