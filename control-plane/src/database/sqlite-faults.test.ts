import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

test("disk full: a change is refused with advice and leaves nothing, reads go on, and so do changes when there is room", async (context) => {
  context.skip(api.databaseUrl !== undefined, "there is no file that could be full");
  const { database } = api.controlPlane;
  await api.deploy("hello");
  const setPages = (count: number) =>
    sql`pragma max_page_count = ${sql.lit(count)}`.execute(database);
  // As many as it has: SQLite then says what it says of a disk without room.
  await setPages(1);
  const vars = { bindings: [{ type: "plain_text", name: "A", text: "x".repeat(5_000) }] };
  let refused = await api.deploy("hello", vars);
  for (let turn = 0; refused.success && turn < 50; turn += 1) {
    refused = await api.deploy("hello", vars);
  }
  expect(refused).toMatchObject({ status: 503, success: false });
  expect(refused.errors[0]?.message).toMatch(/disk of the control plane is full/);
  const during = await api.countRows();
  expect(during["versions"]).toBe(during["deployments"]);
  expect(during["versions"]).toBe(during["state_changes"]);
  expect((await api.call("GET A/workers/scripts")).result).toHaveLength(1);
  await setPages(1_000_000);
  expect((await api.deploy("hello", vars)).status).toBe(200);
});
