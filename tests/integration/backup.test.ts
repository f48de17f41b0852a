import { mkdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { REGIONS, startAtoll, type RegionName, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { KvWorker } from "../support/kv-worker.ts";
import { accountPath } from "../support/refusal.ts";
import { upload } from "../support/upload.ts";

const LARGE = "x".repeat(100_000);

let atoll: TestAtoll;
let kv: KvWorker;

beforeAll(async () => {
  atoll = await startAtoll();
  kv = await KvWorker.deploy(atoll, { title: "words" });
});
afterAll(() => atoll.stop());

async function namespace(title: string): Promise<{ readonly result: { readonly id: string } }> {
  const body = JSON.stringify({ title });
  const path = accountPath(atoll, "/storage/kv/namespaces");
  return JSON.parse((await atoll.api(path, { method: "POST", body })).body);
}

async function deployAnswer(name: string, text: string): Promise<void> {
  const source = `export default { fetch: () => new Response(${JSON.stringify(text)}) };`;
  const answer = await upload(atoll, { name, source });
  expect(answer.status, answer.body).toBe(200);
}

const answerOf = async (region: RegionName, name: string) =>
  (await atoll.get(region, `${name}.localhost`, "/")).body;

interface Status {
  readonly revision: number;
  readonly nodes: ReadonlyArray<{ readonly connected: boolean; readonly revision: number }>;
}

async function status(): Promise<Status> {
  return JSON.parse((await atoll.atoll(["status", "--json"])).output) as Status;
}

/** Deploys and writes all the time, until it is told to stop; tells what was acknowledged. */
function startLoad() {
  const stop = new AbortController();
  const done = { deploys: 0, writes: 0 };
  const deploying = (async () => {
    while (!stop.signal.aborted) {
      await deployAnswer("busy", `deploy ${done.deploys + 1}`);
      done.deploys += 1;
      await namespace(`made ${done.deploys}`);
    }
  })();
  const writing = (async () => {
    while (!stop.signal.aborted) {
      const number = done.writes + 1;
      await kv.result("iad", "put", `large ${number}`, `${LARGE}${number}`);
      await kv.result("iad", "put", "count", String(number));
      done.writes = number;
    }
  })();
  return {
    done,
    stop: async (): Promise<void> => {
      stop.abort();
      await Promise.all([deploying, writing]);
    },
  };
}

test("a backup under load is restored, and every node follows to what was backed up", async () => {
  const load = startLoad();
  await eventually(() => load.done.deploys >= 3 && load.done.writes >= 10, { what: "a load" });
  const before = { ...load.done };
  const backup = join(atoll.dataDirectory, "..", "backups", "first");
  const made = await atoll.atoll(["backup", backup]);
  expect(made.exitCode, made.output).toBe(0);
  expect(made.output).toContain("verified");
  const after = { ...load.done };
  await eventually(() => load.done.deploys > after.deploys, { what: "the load goes on" });
  await load.stop();
  // What is not in the backup, and is on every node by now.
  await deployAnswer("later", "not backed up");
  await kv.result("iad", "put", "later", "not backed up");
  for (const region of REGIONS) {
    await eventually(async () => (await answerOf(region, "later")) === "not backed up", {
      what: `the later worker serves in ${region}`,
    });
    await eventually(async () => (await kv.result(region, "get", "later")) === "not backed up", {
      what: `the later key is in ${region}`,
    });
  }
  const { revision } = await status();

  const refused = await atoll.atoll(["restore", backup]);
  expect(refused.exitCode).toBe(1);
  expect(refused.output).toMatch(/is not empty: a restore replaces nothing/);

  await atoll.pause();
  const data = join(atoll.dataDirectory, "control-plane");
  await rename(data, `${data}-lost`);
  const restored = await atoll.atoll(["restore", backup]);
  expect(restored.exitCode, restored.output).toBe(0);
  await atoll.resume();
  await rm(`${data}-lost`, { recursive: true });

  await eventually(
    async () => {
      const now = await status();
      return now.revision > revision && now.nodes.every((node) => node.revision === now.revision);
    },
    { what: "every node runs the restored revision" },
  );
  for (const region of REGIONS) {
    const deploy = Number(/^deploy (\d+)$/.exec(await answerOf(region, "busy"))?.[1]);
    expect(deploy).toBeGreaterThanOrEqual(before.deploys);
    expect(deploy).toBeLessThanOrEqual(after.deploys + 1);
    expect((await atoll.get(region, "later.localhost", "/")).status).toBe(404);
    await eventually(async () => (await kv.result(region, "get", "later")) === null, {
      what: `the later key is gone in ${region}`,
    });
    const count = Number(await kv.result(region, "get", "count"));
    expect(count).toBeGreaterThanOrEqual(before.writes);
    expect(count).toBeLessThanOrEqual(after.writes + 1);
    for (let number = 1; number <= count; number += 1) {
      expect(await kv.result(region, "get", `large ${number}`)).toBe(`${LARGE}${number}`);
    }
  }
  const check = await atoll.atoll(["kv", "check", "--content"]);
  expect(check.exitCode, check.output).toBe(0);

  // It goes on: the next change is served everywhere, and so is the next write.
  await deployAnswer("busy", "after the restore");
  await kv.result("fra", "put", "later", "again");
  for (const region of REGIONS) {
    await eventually(async () => (await answerOf(region, "busy")) === "after the restore", {
      what: `the next deploy serves in ${region}`,
    });
    await eventually(async () => (await kv.result(region, "get", "later")) === "again", {
      what: `the next write is in ${region}`,
    });
  }
});

test("the master key is replaced while workers with secrets are deployed and served", async () => {
  const bindings = [{ type: "secret_text", name: "SECRET", text: "hunter2" }];
  const source = "export default { fetch: (request, env) => new Response(env.SECRET) };";
  const deploySecret = async (name: string) =>
    expect((await upload(atoll, { name, source, metadata: { bindings } })).status).toBe(200);
  await deploySecret("first-secret");
  const rotated = await atoll.atoll(["master-key", "rotate"]);
  expect(rotated.exitCode, rotated.output).toBe(0);
  expect(rotated.output).toContain("The master key is another one now");
  await deploySecret("second-secret");
  const { output } = await atoll.atoll(["master-key", "status"]);
  expect(output).toMatch(
    /current, needed by 4 sealed records\n.*earlier, needed by 0 sealed records/,
  );
  await atoll.restart();
  await deploySecret("third-secret");
  for (const region of REGIONS) {
    for (const name of ["first-secret", "second-secret", "third-secret"]) {
      await eventually(async () => (await answerOf(region, name)) === "hunter2", {
        what: `${name} serves in ${region}`,
      });
    }
  }
});

test("commands say what is wrong, and leave nothing", async () => {
  const elsewhere = join(atoll.dataDirectory, "..", "elsewhere");
  await mkdir(elsewhere);
  const cases = [
    [["backup", elsewhere, "--data", "/nowhere"], /not the data folder of a control plane/],
    [["backup", atoll.dataDirectory], /is not empty/],
    [["backup"], /missing required argument/],
    [["restore", elsewhere, "--data", join(elsewhere, "new")], /is no backup/],
    [["master-key", "rotate", "--data", "/nowhere"], /does not exist/],
  ] as const;
  for (const [commandArguments, message] of cases) {
    const { exitCode, output } = await atoll.atoll(commandArguments);
    expect(exitCode, output).toBe(1);
    expect(output).toMatch(message);
    expect(output).not.toMatch(/^\s+at /m);
  }
  await expect(stat(join(elsewhere, "new"))).rejects.toMatchObject({ code: "ENOENT" });
  for (const command of ["backup", "restore", "master-key"]) {
    expect((await atoll.atoll([command, "--help"])).exitCode).toBe(0);
  }
});
