import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { checkInstallation } from "@atoll/control-plane/test-support/installation-check";
import { Random } from "@atoll/kv-store/test-support/random";
import { afterAll, beforeAll, expect, test } from "vitest";
import { IS_THOROUGH, REGIONS, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject } from "../support/project.ts";
import { accountPath } from "../support/refusal.ts";
import { uploadSite } from "../support/site-upload.ts";

const DEPLOYS = IS_THOROUGH ? 200 : 12;
const WRANGLER_DEPLOYS = IS_THOROUGH ? 10 : 1;
/** How many of the deploys have a kill in them, or around them. */
const KILLED = IS_THOROUGH ? 0.5 : 0.3;
// A little past the end of a deploy: the answer may be on its way.
const KILL_WITHIN = 1.2;
const SEED = Number(process.env["ATOLL_SEED"] ?? Date.now() % 100_000);
const WORKER = "killed";

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

interface ActiveVersion {
  readonly id: string;
  /** What the deploy called it. */
  readonly message: string;
}

/** Calls the API below the account, as often as it takes to get an answer. */
async function read<Result>(path: string): Promise<Result> {
  return eventually(
    async () => {
      const { status, body } = await atoll.api(accountPath(atoll, path));
      if (status === 503) return undefined;
      expect(status, body).toBe(200);
      return (JSON.parse(body) as { readonly result: Result }).result;
    },
    { what: `an answer to ${path}` },
  );
}

/** The version that serves, after whatever happened; `undefined` before there is any worker. */
async function readActive(): Promise<ActiveVersion | undefined> {
  const scripts = await read<ReadonlyArray<{ readonly id: string }>>("/workers/scripts");
  if (!scripts.some(({ id }) => id === WORKER)) return undefined;
  const { deployments } = await read<{
    readonly deployments: ReadonlyArray<{
      readonly versions: ReadonlyArray<{ readonly version_id: string }>;
    }>;
  }>(`/workers/scripts/${WORKER}/deployments`);
  const id = deployments[0]?.versions[0]?.version_id ?? "";
  const { annotations } = await read<{ readonly annotations: Record<string, string> }>(
    `/workers/scripts/${WORKER}/versions/${id}`,
  );
  return { id, message: annotations["workers/message"] ?? "" };
}

async function kill(): Promise<void> {
  const before = (await atoll.pids())["control-plane"] ?? 0;
  process.kill(before, "SIGKILL");
  await eventually(async () => (await atoll.pids())["control-plane"] !== before, {
    what: "the control plane is started again",
  });
}

/** Makes a deploy, and kills the control plane within that when it is asked to. */
async function deployWhile<Result>(
  deploy: () => Promise<Result>,
  killAfterMs: number | undefined,
): Promise<Result> {
  const killing = killAfterMs === undefined ? undefined : wait(killAfterMs).then(kill);
  const result = await deploy();
  await killing;
  return result;
}

function contentOf(message: string) {
  return {
    worker: WORKER,
    message,
    source: `export default { fetch: (r, env) => new Response(${JSON.stringify(message)} + env.SECRET) };`,
    // One that all versions share, one that comes with each, and one too large to be written at once.
    files: {
      "/shared.txt": "shared",
      "/own.txt": message,
      "/large.txt": `${message} `.repeat(50_000),
    },
  };
}

/** Code, secret and files of a version come from everywhere, all of that version. */
async function servesEverywhere(message: string): Promise<void> {
  for (const region of REGIONS) {
    const get = async (path: string) => (await atoll.get(region, `${WORKER}.localhost`, path)).body;
    await eventually(async () => (await get("/")) === message + message, {
      what: `${region} serves ${message}`,
    });
    expect(await get("/own.txt")).toBe(message);
    expect(await get("/shared.txt")).toBe("shared");
    expect((await get("/large.txt")).startsWith(`${message} `)).toBe(true);
  }
}

async function expectNothingHalf(): Promise<void> {
  const dataDirectory = join(atoll.dataDirectory, "control-plane");
  expect(await checkInstallation({ dataDirectory })).toEqual([]);
}

test(
  `${DEPLOYS} deploys while the control plane is killed at random: told is live, untold is whole or absent (seed ${SEED})`,
  { timeout: 3_600_000 },
  async () => {
    const random = new Random(SEED);
    let active: ActiveVersion | undefined;
    let lastMs = 500;
    const outcomes = { told: 0, untoldAndLive: 0, absent: 0 };
    for (let turn = 1; turn <= DEPLOYS; turn += 1) {
      const message = `deploy ${turn}`;
      const isKilled = random.chance(KILLED);
      const killAfterMs = isKilled ? random.next() * lastMs * KILL_WITHIN : undefined;
      const startedAt = performance.now();
      const id = await deployWhile(() => uploadSite(atoll, contentOf(message)), killAfterMs);
      if (!isKilled) lastMs = performance.now() - startedAt;
      const now = await readActive();
      const made = id === undefined ? now?.id : id;
      const isLive = now?.message === message;
      // Without an answer both are right, each as a whole; with one only the first is.
      expect(now, `turn ${turn}`).toEqual(
        isLive || id !== undefined ? { id: made, message } : active,
      );
      outcomes[id === undefined ? (isLive ? "untoldAndLive" : "absent") : "told"] += 1;
      active = now;
      if (isKilled && active !== undefined) await servesEverywhere(active.message);
      if (turn % 20 === 0) await expectNothingHalf();
    }
    expect(outcomes.told).toBeGreaterThan(DEPLOYS / 4);
    await expectNothingHalf();
    await expectTrail(outcomes.told + outcomes.untoldAndLive);
    console.log(JSON.stringify(outcomes));
  },
);

/** Exactly the versions that were found are in the trail: none was made that nobody saw. */
async function expectTrail(count: number): Promise<void> {
  const query = `action=version.create&subject=${WORKER}&limit=1000`;
  const trail = await read<ReadonlyArray<unknown>>(`/audit?${query}`);
  expect(trail).toHaveLength(count);
}

// The last one is left in peace.
test(
  `${WRANGLER_DEPLOYS} deploys by wrangler while the control plane is killed (seed ${SEED})`,
  { timeout: 1_800_000 },
  async () => {
    const random = new Random(SEED + 1);
    const before = await readActive();
    const config = {
      name: WORKER,
      main: "index.js",
      compatibility_date: "2026-06-01",
      assets: { directory: "./public", binding: "ASSETS" },
    };
    const project = await createProject({ "wrangler.json": JSON.stringify(config) });
    let active = before;
    for (let turn = 1; turn <= WRANGLER_DEPLOYS + 1; turn += 1) {
      const message = `wrangler ${turn}`;
      const { source, files } = contentOf(message);
      await project.write("index.js", source.replace(" + env.SECRET", ""));
      for (const [path, content] of Object.entries(files)) {
        await project.write(`public${path}`, content);
      }
      const deploy = () => atoll.wrangler(project.directory, ["deploy", "--message", message]);
      // It starts and bundles first, for a second or more.
      const isKilled = turn <= WRANGLER_DEPLOYS;
      const killAfterMs = isKilled ? 800 + random.next() * 3_000 : undefined;
      const { exitCode, output } = await deployWhile(deploy, killAfterMs);
      const now = await readActive();
      const isLive = now?.message === message;
      expect(exitCode === 0 ? isLive : isKilled, output).toBe(true);
      expect(isLive || now?.id === active?.id, "nothing has changed").toBe(true);
      active = now;
    }
    await project.remove();
    await expectNothingHalf();
  },
);
