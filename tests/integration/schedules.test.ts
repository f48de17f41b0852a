import { ScheduleStatus } from "@atoll/control-plane";
import { afterAll, beforeAll, expect, test } from "vitest";
import { IS_THOROUGH, EVERYDAY_RELEASES, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject, type TestProject } from "../support/project.ts";
import { accountPath } from "../support/refusal.ts";
import { upload } from "../support/upload.ts";

const MINUTE_MS = 60_000;
// More than deploys, process starts and a few retries take between them.
const DEADLINE_MS = 90_000;

type Occurrence = ScheduleStatus["occurrences"][number];

let atoll: TestAtoll;
let namespace: string;
const projects: TestProject[] = [];
beforeAll(async () => {
  atoll = await startAtoll();
  const created = await atoll.api(accountPath(atoll, "/storage/kv/namespaces"), {
    method: "POST",
    body: JSON.stringify({ title: "runs" }),
  });
  namespace = (JSON.parse(created.body) as { result: { id: string } }).result.id;
});
afterAll(async () => {
  await Promise.all(projects.map((project) => project.remove()));
  await atoll.stop();
});

/** Notes each of its runs under a key of its own, before and after what the test is about. */
function source(body: string): string {
  return `export default {
    fetch: () => new Response("here"),
    async scheduled({ cron, scheduledTime }, env) {
      const run = env.NAME + "/" + scheduledTime + "/" + crypto.randomUUID();
      const before = (await env.KV.list({ prefix: env.NAME + "/" + scheduledTime })).keys.length;
      await env.KV.put(run, "begun");
      ${body}
      await env.KV.put(run, "ended");
    },
  };`;
}

/** Deploys a worker that is called at one minute. */
async function deploy(name: string, body: string, atMs: number): Promise<void> {
  const bindings = [
    { type: "kv_namespace", name: "KV", namespace_id: namespace },
    { type: "plain_text", name: "NAME", text: name },
  ];
  const answer = await upload(atoll, { name, source: source(body), metadata: { bindings } });
  expect(answer.status, answer.body).toBe(200);
  const set = await atoll.api(accountPath(atoll, `/workers/scripts/${name}/schedules`), {
    method: "PUT",
    body: JSON.stringify([{ cron: `${new Date(atMs).getUTCMinutes()} * * * *` }]),
  });
  expect(set.status, set.body).toBe(200);
}

/** The first minute that is so far away that all can be there in time. */
function nextMinute(): number {
  return Math.ceil((Date.now() + 20_000) / MINUTE_MS) * MINUTE_MS;
}

/** What became of a worker's occurrence at a time. Rejected while the control plane is down. */
async function occurrenceAt(name: string, atMs: number): Promise<Occurrence | undefined> {
  const { body } = await atoll.api(accountPath(atoll, `/schedules?worker=${name}`));
  const { result } = JSON.parse(body) as { result: { schedules: unknown } };
  const [schedule] = ScheduleStatus.array().parse(result.schedules);
  const scheduledAt = new Date(atMs).toISOString();
  return schedule?.occurrences.find((occurrence) => occurrence.scheduledAt === scheduledAt);
}

function reaches(name: string, atMs: number, state: Occurrence["state"]): Promise<Occurrence> {
  return eventually(
    async () => {
      const occurrence = await occurrenceAt(name, atMs);
      return occurrence?.state === state && occurrence;
    },
    { what: `the occurrence of ${name} is ${state}`, deadlineMs: DEADLINE_MS },
  );
}

/** Runs of a worker at a time, each with whether it came to its end. */
async function runsAt(name: string, atMs: number): Promise<ReadonlyArray<string>> {
  const keys = accountPath(atoll, `/storage/kv/namespaces/${namespace}`);
  const { body } = await atoll.api(`${keys}/keys?prefix=${encodeURIComponent(`${name}/${atMs}`)}`);
  const names = (JSON.parse(body) as { result: ReadonlyArray<{ name: string }> }).result;
  const values = names.map(async (key) => {
    const value = await atoll.api(`${keys}/values/${encodeURIComponent(key.name)}`);
    return value.body;
  });
  return (await Promise.all(values)).toSorted();
}

async function kill(name: string): Promise<void> {
  const pid = (await atoll.pids())[name] ?? 0;
  process.kill(pid, "SIGKILL");
  await eventually(async () => (await atoll.pids())[name] !== pid, { what: `${name} is back` });
}

// While the next one waits for its minute.
test.concurrent.each(EVERYDAY_RELEASES)(
  "wrangler %s: schedules are set by deploy and triggers deploy, and refused by expression and rule",
  async (release) => {
    const name = `cron-${release.replace(".", "")}`;
    const project = await createProject({
      "wrangler.json": JSON.stringify({
        name,
        main: "index.js",
        compatibility_date: "2026-04-01",
        triggers: { crons: ["0 3 * * mon-fri", "0 0 LW * *"] },
      }),
      "index.js": "export default { fetch: () => new Response(), scheduled() {} };",
    });
    projects.push(project);
    const wrangler = (...line: string[]) => atoll.wrangler(project.directory, line, { release });
    const crons = async (): Promise<unknown> => {
      const path = accountPath(atoll, `/workers/scripts/${name}/schedules`);
      const { result } = JSON.parse((await atoll.api(path)).body) as {
        result: { schedules: ReadonlyArray<{ cron: string }> };
      };
      return result.schedules.map(({ cron }) => cron);
    };
    const edit = (from: string, to: string) => project.edit("wrangler.json", { from, to });

    const deployed = await wrangler("deploy");
    expect(deployed.exitCode, deployed.output).toBe(0);
    expect(deployed.output).toContain("schedule: 0 3 * * mon-fri");
    expect(await crons()).toEqual(["0 0 LW * *", "0 3 * * mon-fri"]);

    await edit("0 0 LW * *", "0 18 * * friL");
    const triggers = await wrangler("triggers", "deploy");
    expect(triggers.exitCode, triggers.output).toBe(0);
    expect(await crons()).toEqual(["0 18 * * friL", "0 3 * * mon-fri"]);

    await edit("0 18 * * friL", "0 18 * * 0");
    const refused = await wrangler("triggers", "deploy");
    expect(refused.exitCode).toBe(1);
    expect(refused.output).toContain("invalid cron string '0 18 * * 0'");
    expect(refused.output).toContain("where 1 is Sunday");
    expect(refused.output).toContain("10100");
    expect(await crons()).toEqual(["0 18 * * friL", "0 3 * * mon-fri"]);

    await edit('"0 3 * * mon-fri","0 18 * * 0"', "");
    expect((await wrangler("deploy")).exitCode).toBe(0);
    expect(await crons()).toEqual([]);
  },
);

test.concurrent("schedules: each occurrence runs once over the fleet, again when it fails or its node is killed", async () => {
  const atMs = nextMinute();
  await deploy("once", "", atMs);
  await deploy("flaky", `if (before === 0) throw new Error("not yet");`, atMs);
  await deploy("looping", `if (before === 0) for (;;) {}`, atMs);
  // Longer than the test waits for it: only the kill ends its first run.
  await deploy("held", `if (before === 0) await scheduler.wait(600_000);`, atMs);

  const held = await reaches("held", atMs, "claimed");
  await eventually(async () => (await runsAt("held", atMs)).length === 1, { what: "held begins" });
  expect(await reaches("once", atMs, "ended")).toMatchObject({ outcome: "ok", attempts: 1 });
  // What a node counted in the seconds before a kill is lost with it.
  await eventually(
    async () => {
      const { body } = await atoll.api(accountPath(atoll, "/usage?worker=once"));
      const { result } = JSON.parse(body) as { result: { workers: ReadonlyArray<object> } };
      expect(result.workers).toMatchObject([{ requests: 1, errors: 0, kvWrites: 2, kvLists: 1 }]);
      return true;
    },
    { what: "its one request is counted" },
  );
  await kill(held.node ?? "");
  expect(await reaches("held", atMs, "ended")).toMatchObject({ outcome: "ok", attempts: 2 });
  expect(await runsAt("held", atMs)).toEqual(["begun", "ended"]);

  // The loop is ended by its limit. The kill may have hit another attempt of theirs.
  for (const name of ["flaky", "looping"]) {
    const { outcome, attempts } = await reaches(name, atMs, "ended");
    expect({ name, outcome }).toEqual({ name, outcome: "ok" });
    expect(attempts).toBeGreaterThanOrEqual(2);
    expect(await runsAt(name, atMs)).toContain("ended");
  }
  expect(await runsAt("once", atMs)).toEqual(["ended"]);
  const json = await atoll.atoll(["schedules", "once", "--json"]);
  expect(JSON.parse(json.output)).toMatchObject([
    { worker: "once", occurrences: [await occurrenceAt("once", atMs)] },
  ]);
  const table = await atoll.atoll(["schedules", "once"]);
  expect(table.output).toMatch(/once .* ok +│ 1 +│ (iad|fra|nrt) /);
}, 300_000);

// Waits for two turns of a minute.
test.runIf(IS_THOROUGH)(
  "schedules: survive a control plane that is stopped over their time, and killed while they run",
  async () => {
    const atMs = nextMinute();
    await deploy("late", "", atMs);
    await deploy("slow", "await scheduler.wait(15_000);", atMs);
    const controlPlane = (await atoll.pids())["control-plane"] ?? 0;
    await eventually(() => Date.now() > atMs - 2_000, {
      what: "it is time",
      deadlineMs: DEADLINE_MS,
    });
    // Stopped first: a killed one would be back before the minute is over.
    process.kill(controlPlane, "SIGSTOP");
    await eventually(() => Date.now() > atMs + 2_000, { what: "it is late" });
    await kill("control-plane");

    expect(await reaches("late", atMs, "ended")).toMatchObject({ outcome: "ok", attempts: 1 });
    expect(await runsAt("late", atMs)).toEqual(["ended"]);
    await reaches("slow", atMs, "claimed");
    await eventually(async () => (await runsAt("slow", atMs)).length === 1, {
      what: "slow begins",
    });
    await kill("control-plane");
    expect(await reaches("slow", atMs, "ended")).toMatchObject({ outcome: "ok", attempts: 1 });
    expect(await runsAt("slow", atMs)).toEqual(["ended"]);
  },
  300_000,
);
