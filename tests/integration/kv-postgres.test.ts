import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { REGIONS, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { KvWorker } from "../support/kv-worker.ts";

let postgres: PostgresServer;
let atoll: TestAtoll;
let worker: KvWorker;

beforeAll(async () => {
  postgres = await PostgresServer.start();
  const database = await postgres.createDatabase();
  atoll = await startAtoll({ environment: { ATOLL_KV_DATABASE: postgres.url(database) } });
  worker = await KvWorker.deploy(atoll, { title: "words" });
});
afterAll(async () => {
  await atoll.stop();
  await postgres.remove();
});

async function visibleEverywhere(key: string, value: string): Promise<void> {
  for (const region of REGIONS) {
    await eventually(async () => (await worker.result(region, "get", key)) === value, {
      what: `${region} shows ${key}`,
    });
  }
}

test("KV in PostgreSQL: a worker's writes are in every region, and outlive restarts of both sides", async () => {
  await worker.result("iad", "put", "first", "1");
  await visibleEverywhere("first", "1");

  await postgres.kill();
  const { error } = await worker.call("fra", "put", "second", "2");
  expect(error).toMatch(/503/);
  expect(await worker.result("nrt", "get", "first")).toBe("1");
  await postgres.restart();
  await eventually(
    async () => (await worker.call("fra", "put", "second", "2")).error === undefined,
    {
      what: "writes work again",
    },
  );
  await visibleEverywhere("second", "2");

  await atoll.restart();
  await visibleEverywhere("first", "1");
  await worker.result("nrt", "put", "third", "3");
  await visibleEverywhere("third", "3");
});
