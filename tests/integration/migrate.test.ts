import { once } from "node:events";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { S3_BUCKET, S3_CREDENTIALS, S3Server } from "@atoll/control-plane/test-support/s3-server";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { IS_THOROUGH, MAIN, REGIONS, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { KvWorker } from "../support/kv-worker.ts";
import { accountPath } from "../support/refusal.ts";
import { upload } from "../support/upload.ts";

const LARGE = "x".repeat(100_000);
const KEYS = 400;
const KILLS = IS_THOROUGH ? 25 : 3;
// From its first connection on a run takes half a second or two: kills come anywhere in it.
const KILL_MS_MAX = 800;

let postgres: PostgresServer;
let s3: S3Server;
let atoll: TestAtoll;
let kv: KvWorker;
/** Where the installation moves to, as every part is told. */
let places: Readonly<Record<string, string>>;
beforeAll(async () => {
  postgres = await PostgresServer.start();
  s3 = await S3Server.start();
  places = {
    ATOLL_DATABASE: postgres.url(await postgres.createDatabase()),
    ATOLL_BLOB_STORE: `s3://${S3_BUCKET}/atoll`,
    ATOLL_S3_ENDPOINT: s3.endpoint,
  };
  atoll = await startAtoll({
    environment: {
      AWS_ACCESS_KEY_ID: S3_CREDENTIALS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: S3_CREDENTIALS.secretAccessKey,
    },
  });
  kv = await KvWorker.deploy(atoll, { title: "words" });
  const keys = Array.from({ length: KEYS }, (_, index) => ({ key: `k${index}`, value: "1" }));
  const path = accountPath(atoll, `/storage/kv/namespaces/${kv.namespace}/bulk`);
  await atoll.api(path, { method: "PUT", body: JSON.stringify(keys) });
  for (let large = 0; large < 20; large += 1) {
    await kv.result("iad", "put", `large ${large}`, `${LARGE}${large}`);
  }
}, 180_000);
afterAll(async () => {
  await atoll.stop();
  await postgres.remove();
  await s3.remove();
});

interface Status {
  readonly revision: number;
  readonly nodes: ReadonlyArray<{ readonly connected: boolean; readonly revision: number }>;
}

async function status(): Promise<Status> {
  return JSON.parse((await atoll.atoll(["status", "--json"])).output) as Status;
}

/** Whether a move is at work in the database. */
async function isConnected(): Promise<boolean> {
  const query = "SELECT FROM pg_stat_activity WHERE application_name = 'atoll-control-plane'";
  return (await postgres.query("postgres", query)).length > 0;
}

/** Runs the command as its operator does, and kills it after a while. Returns what it said. */
async function migrate(killAfterMs?: number): Promise<string> {
  const child = spawn(process.execPath, [MAIN, "migrate"], {
    env: {
      ...process.env,
      ...places,
      ATOLL_DATA: atoll.dataDirectory,
      AWS_ACCESS_KEY_ID: S3_CREDENTIALS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: S3_CREDENTIALS.secretAccessKey,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (piece: Buffer) => output.push(piece.toString()));
  }
  const exited = once(child, "exit");
  if (killAfterMs !== undefined) {
    await eventually(isConnected, { what: "it moves" });
    await Promise.race([wait(killAfterMs), exited]);
    child.kill("SIGKILL");
    await exited;
    await eventually(async () => !(await isConnected()), { what: "its connections are gone" });
  }
  await exited;
  return output.join("");
}

test("migrate: an installation goes on in PostgreSQL and S3, however often its move was killed", async () => {
  expect(await migrate()).toMatch(/in use: stop the control plane first/);
  const before = await status();
  await atoll.pause();
  let said = "";
  for (let turn = 1; turn <= KILLS && said === ""; turn += 1) {
    said = await migrate((KILL_MS_MAX * turn) / KILLS);
    expect(said).toMatch(/^$|Moved and compared/);
  }
  said = await migrate();
  expect(said).toMatch(/Moved and compared: \d+ tables .* 1 namespaces with 420 keys/);
  expect(said).not.toContain("atoll@");

  // With the folder alone nothing starts any more.
  const { exitCode, output } = await atoll.atoll(["up"]);
  expect(exitCode).toBe(1);
  expect(output).toMatch(/was moved on .*: start with --database and --blob-store/);
  const withoutBucket = ["control-plane", "--data", join(atoll.dataDirectory, "control-plane")];
  const database = ["--database", places["ATOLL_DATABASE"] ?? ""];
  expect((await atoll.atoll([...withoutBucket, ...database])).output).toMatch(/was moved on/);

  await atoll.resume(places);
  const after = await status();
  expect(after.revision).toBe(before.revision);
  for (const node of after.nodes) {
    expect(node).toMatchObject({ connected: true, revision: before.revision });
  }
  for (const region of REGIONS) {
    expect(await kv.result(region, "get", "k7")).toBe("1");
    expect(await kv.result(region, "get", "large 3")).toBe(`${LARGE}3`);
  }
  // What is written goes on from there.
  await kv.result("iad", "put", "new", "2");
  for (const region of REGIONS) {
    await eventually(async () => (await kv.result(region, "get", "new")) === "2", {
      what: `${region} follows`,
    });
  }
  const source = "export default { fetch: () => new Response('after') };";
  expect((await upload(atoll, { name: "after", source })).status).toBe(200);
  for (const region of REGIONS) {
    expect((await atoll.get(region, "after.localhost", "/")).body).toBe("after");
  }
});
