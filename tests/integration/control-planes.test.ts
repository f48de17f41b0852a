import { createHash } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { IS_THOROUGH } from "../support/atoll.ts";
import { ControlPlanes, NODE_NAMES } from "../support/control-planes.ts";
import { eventually } from "../support/eventually.ts";
import { createProject, type TestProject } from "../support/project.ts";
import { TailProcess } from "../support/tail-process.ts";

const DEPLOYS = IS_THOROUGH ? 60 : 6;
// A deploy takes some tens of milliseconds here: kills come before, within and after one.
const KILL_MS_MAX = 150;
const SEED = Number(process.env["ATOLL_SEED"] ?? Date.now() % 1_000_000);

let planes: ControlPlanes;
let project: TestProject;
beforeAll(async () => {
  planes = await ControlPlanes.start();
  project = await createProject({
    "wrangler.json": JSON.stringify({
      name: "hello",
      main: "index.js",
      compatibility_date: "2026-06-01",
    }),
    "index.js": "",
  });
  for (const index of [0, 1]) {
    await eventually(async () => (await planes.connected(index)).length === NODE_NAMES.length, {
      what: `control plane ${index} knows of all nodes`,
    });
  }
}, 180_000);
afterAll(async () => {
  await planes.stop();
  await project.remove();
});

function source(text: string): string {
  return `export default { fetch: () => new Response(${JSON.stringify(text)}) };`;
}

async function servesEverywhere(worker: string, text: string): Promise<void> {
  for (const node of NODE_NAMES) {
    await eventually(async () => (await planes.get(node, worker)).body === text, {
      what: `${node} serves ${text}`,
    });
  }
}

test("two control planes: wrangler deploys at either, and all nodes serve it", async () => {
  for (const index of [0, 1, 0]) {
    const text = `deployed at ${index}`;
    await project.write("index.js", source(text));
    const { exitCode, output } = await planes.wrangler(index, project.directory, ["deploy"]);
    expect(exitCode, output).toBe(0);
    await servesEverywhere("hello", text);
  }
  const { output } = await planes.wrangler(1, project.directory, ["deployments", "list"]);
  expect(output.match(/^Created:/gm)).toHaveLength(3);
});

/** Requests of which a tail told, by node. */
function toldBy(texts: string): ReadonlyArray<number> {
  return NODE_NAMES.map(
    (node) => texts.split(`hello.localhost:${planes.portOf(node)}/`).length - 1,
  );
}

async function nobodyWatches(index: number): Promise<void> {
  await eventually(
    async () => {
      const { result } = await planes.call(index, "/workers/scripts/hello/tails");
      expect(result).toEqual([]);
      // Each node has the worker's own cell again, and no second one that tells.
      expect(await planes.cellCounts(index, "hello")).toEqual([1, 1]);
      return true;
    },
    { what: "no tail and no watched cell is left" },
  );
}

test("two control planes: a tail shows what happens on the nodes of both, and ends with its control plane", async () => {
  const variables = planes.variablesFor(0);
  const place = { dataDirectory: project.directory, variables };
  const flags = ["--format", "pretty"];
  const tail = new TailProcess(place, { worker: "hello", release: "4.164", flags });
  try {
    await tail.connected();
    for (const node of NODE_NAMES) await planes.get(node, "hello");
    for (const node of NODE_NAMES) await tail.shows(`hello.localhost:${planes.portOf(node)}/`);
    expect(toldBy(tail.output)).toEqual([1, 1]);
    await planes.kill(0);
    await tail.end();
    await nobodyWatches(1);
  } finally {
    await tail.end();
    await planes.restart(0);
  }
});

test("two control planes: a tail goes on when the other one, which has the nodes, is killed", async () => {
  // Both nodes have gone to the second one by now.
  const { result } = await planes.call(0, "/workers/scripts/hello/tails", {
    method: "POST",
    body: "{}",
  });
  const { url } = result as { url: string };
  const texts: string[] = [];
  const direct = await watch(url, texts);
  try {
    for (const node of NODE_NAMES) await planes.get(node, "hello");
    await eventually(() => texts.length >= 2, { what: "both nodes tell" });
    await planes.kill(1);
    texts.length = 0;
    await eventually(
      async () => {
        for (const node of NODE_NAMES) await planes.get(node, "hello");
        return toldBy(texts.join()).every((count) => count > 0);
      },
      { what: "both nodes tell by the other control plane" },
    );
  } finally {
    direct.close();
    await planes.restart(1);
  }
  await nobodyWatches(1);
});

/** Takes what a tail tells. */
async function watch(url: string, texts: string[]): Promise<WebSocket> {
  const socket = new WebSocket(url, "trace-v1");
  socket.addEventListener("message", ({ data }) => texts.push(String(data)));
  const opened = Promise.withResolvers<void>();
  socket.addEventListener("open", () => opened.resolve());
  socket.addEventListener("error", () => opened.reject(new Error("the tail could not be watched")));
  await opened.promise;
  return socket;
}

test(`two control planes: one or the other is killed at any moment, and deploys go on (seed ${SEED})`, async () => {
  const random = randomFrom(SEED);
  /** Texts that a control plane said to be deployed, by the version's id. */
  const reported = new Map<string, string>();
  let failed = 0;
  for (let turn = 0; turn < DEPLOYS; turn += 1) {
    const victim = random() < 0.5 ? 0 : 1;
    const killing = wait(random() * KILL_MS_MAX).then(() => planes.kill(victim));
    const text = `turn ${turn}`;
    // As behind a balancer: what one does not answer is asked of the other one.
    for (const index of random() < 0.5 ? [0, 1] : [1, 0]) {
      const id = await upload(index, text);
      if (id === undefined) {
        failed += 1;
        continue;
      }
      reported.set(id, text);
      break;
    }
    await killing;
    expect([...reported.values()].at(-1), "one of two always answers").toBe(text);
    await servesEverywhere("killed", text);
    await planes.restart(victim);
  }
  expect(reported.size).toBe(DEPLOYS);
  await expectWhole([...reported.keys()], failed);
}, 600_000);

/** Every version that was told of is there, every one that is there is whole and in the trail, and no other. */
async function expectWhole(reported: ReadonlyArray<string>, failed: number): Promise<void> {
  const trail = await planes.call(0, "/audit?action=version.create&subject=killed&limit=1000");
  const created = (trail.result as ReadonlyArray<{ after: { version: string } }>).map(
    ({ after }) => after.version,
  );
  for (const id of reported) expect(created).toContain(id);
  expect(created.length - reported.length).toBeLessThanOrEqual(failed);
  for (const [index, id] of created.entries()) {
    const version = await planes.call(index % 2, `/workers/scripts/killed/versions/${id}`);
    expect(version.status, version.text).toBe(200);
    expect(version.result).toMatchObject({ number: created.length - index });
  }
  // No blob is half there: each is what its name says.
  const objects = await planes.s3.objects("fleet/blobs/");
  expect(objects.size).toBeGreaterThanOrEqual(reported.length);
  for (const [name, content] of objects) {
    expect(createHash("sha256").update(content).digest("hex")).toBe(name);
  }
}

test("two control planes: the bucket is gone and comes back; nodes serve on, and deploys go on", async () => {
  await planes.s3.stop();
  for (const index of [0, 1]) {
    expect(await upload(index, `during ${index}`)).toBeUndefined();
    const refused = await planes.call(index, "/workers/scripts/killed", uploadOf("refused"));
    expect(refused.status).toBe(503);
    expect(refused.text).toMatch(/the bucket 'atoll-test' .* can't be reached/);
    // What needs no blob goes on.
    expect((await planes.call(index, "/workers/scripts")).status).toBe(200);
  }
  for (const node of NODE_NAMES) expect((await planes.get(node, "hello")).status).toBe(200);
  await planes.s3.restart();
  for (const index of [0, 1]) {
    expect(await upload(index, `bucket is back ${index}`)).toBeDefined();
    await servesEverywhere("killed", `bucket is back ${index}`);
  }
});

test("two control planes: the database is killed and comes back; nodes serve on, and deploys go on", async () => {
  await planes.postgres.kill();
  for (const index of [0, 1]) {
    const refused = await planes.call(index, "/workers/scripts");
    expect(refused.status).toBe(503);
    expect(refused.text).toMatch(/database/);
  }
  for (const node of NODE_NAMES) expect((await planes.get(node, "hello")).status).toBe(200);
  await planes.postgres.restart();
  for (const index of [0, 1]) {
    await eventually(async () => (await upload(index, `after ${index}`)) !== undefined, {
      what: `control plane ${index} deploys again`,
    });
    await servesEverywhere("killed", `after ${index}`);
  }
});

/** Deploys by one call. Resolves with the version's id; `undefined` when it failed or nobody answered. */
async function upload(index: number, text: string): Promise<string | undefined> {
  try {
    const path = "/workers/scripts/killed";
    const { status, result } = await planes.call(index, path, uploadOf(text));
    return status === 200 ? (result as { deployment_id: string }).deployment_id : undefined;
  } catch {
    return undefined; // killed, before or while it answered
  }
}

function uploadOf(text: string): RequestInit {
  const form = new FormData();
  const metadata = { main_module: "index.js", compatibility_date: "2026-06-01" };
  form.set("metadata", JSON.stringify(metadata));
  const type = "application/javascript+module";
  form.set("index.js", new Blob([source(text)], { type }), "index.js");
  return { method: "PUT", body: form };
}

/** Numbers from 0 to 1 that a seed decides. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}
