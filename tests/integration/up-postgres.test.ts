import { existsSync } from "node:fs";
import { join } from "node:path";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";

let postgres: PostgresServer;
let atoll: TestAtoll;
beforeAll(async () => {
  postgres = await PostgresServer.start();
  const database = await postgres.createDatabase();
  atoll = await startAtoll({
    environment: { ATOLL_DATABASE: postgres.url(database) },
    withStarter: true,
  });
});
afterAll(async () => {
  await atoll.stop();
  await postgres.remove();
});

test("atoll up with a database: the starter serves, commands beside it look there, and no file is made", async () => {
  const page = await atoll.get("fra", "starter.localhost", "/");
  expect(page.status).toBe(200);
  const data = join(atoll.dataDirectory, "control-plane");
  for (const name of ["control-plane.sqlite", "kv.sqlite"]) {
    expect(existsSync(join(data, name)), name).toBe(false);
  }
  const accounts = await atoll.atoll(["account", "list"]);
  expect(accounts.output).toContain(atoll.variables["CLOUDFLARE_ACCOUNT_ID"]);
  const trail = await atoll.atoll(["audit", "--data", data]);
  expect(trail.output).toContain("node.enrol");
  const keys = await atoll.atoll(["master-key", "status"]);
  expect(keys.output).toMatch(/current, needed by [1-9]/);
});
