import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  ALL_RELEASES,
  EVERYDAY_INGRESSES,
  IS_THOROUGH,
  REGIONS,
  type RegionName,
  startAtoll,
  type TestAtoll,
  type WranglerRelease,
} from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { Load } from "../support/load.ts";
import { growth, settledInventory, takeInventory } from "../support/node-inventory.ts";
import { accountPath } from "../support/refusal.ts";
import { TailProcess } from "../support/tail-process.ts";
import { upload } from "../support/upload.ts";

const SOURCE = `export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/loop") for (;;) {}
    if (pathname === "/throw") throw new RangeError("out of it");
    console.log("saw " + pathname, { word: searchParams.get("word") });
    return new Response("served");
  },
};`;

let atoll: TestAtoll;
const tails: TailProcess[] = [];

function tail(release: WranglerRelease, ...flags: string[]): TailProcess {
  const process = new TailProcess(atoll, { worker: "watched", release, flags });
  tails.push(process);
  return process;
}

async function get(
  region: RegionName,
  path: string,
  headers = {},
  method = "GET",
): Promise<number> {
  const host = "watched.localhost";
  return (await atoll.get(region, host, path, { headers, method })).status;
}

/** Tails that are open, as the API lists them. */
async function openTails(): Promise<number> {
  const { body } = await atoll.api(accountPath(atoll, "/workers/scripts/watched/tails"));
  return (JSON.parse(body) as { result: ReadonlyArray<unknown> }).result.length;
}

async function nobodyWatches(): Promise<void> {
  // One whose watcher was killed before it connected is waited for a while.
  await eventually(async () => (await openTails()) === 0, {
    what: "no tail is open",
    deadlineMs: 45_000,
  });
}

/** Repeats requests until the tail shows one: JSON says nothing of when it is connected. */
async function firstEvent(watching: TailProcess, ask: () => Promise<unknown>): Promise<void> {
  await eventually(
    async () => {
      await ask();
      return watching.events.length > 0;
    },
    { what: "an event is told", deadlineMs: 40_000 },
  );
}

describe.each(EVERYDAY_INGRESSES)("tail behind %s: ", (ingress) => {
  // What both wranglers ask for reaches the same code behind either ingress.
  const releases = ALL_RELEASES.filter(
    (release) => IS_THOROUGH || ingress === "haproxy" || release === "4.164",
  );

  beforeAll(async () => {
    atoll = await startAtoll({ environment: { ATOLL_INGRESS: ingress } });
    const answer = await upload(atoll, { name: "watched", source: SOURCE });
    expect(answer.status, answer.body).toBe(200);
  });
  afterEach(async () => {
    await Promise.all(tails.splice(0).map((process) => process.end()));
    await nobodyWatches();
  });
  afterAll(() => atoll.stop());

  test.each(releases)(
    "wrangler %s shows what happens on all nodes, and leaves nothing",
    async (release) => {
      for (const region of REGIONS) expect(await get(region, "/warm")).toBe(200);
      const before = await settledInventory(atoll, "fra");
      const watching = tail(release, "--format", "pretty");
      await watching.connected();
      for (const region of REGIONS) expect(await get(region, `/${region}?word=here`)).toBe(200);
      for (const region of REGIONS) {
        await watching.shows(`(log) saw /${region} { word: 'here' }`);
        expect(watching.output).toMatch(
          new RegExp(`GET http://watched\\.localhost:\\d+/${region}\\?word=here - Ok @`),
        );
      }
      expect(await get("iad", "/throw")).toBe(500);
      await watching.shows("RangeError: out of it");
      // It vanishes without a word.
      await watching.end("SIGKILL");
      await nobodyWatches();
      await eventually(
        async () => {
          const left = growth(before, await takeInventory(atoll, "fra"));
          // What was compiled for the next watcher is kept until the next deploy, as everything compiled is.
          expect(left.filter((line) => !line.startsWith("files: configs"))).toEqual([]);
          return true;
        },
        { what: "the node has nothing more than before" },
      );
    },
  );

  test.each(releases)("wrangler %s filters on the server", async (release) => {
    const watching = tail(
      release,
      ...["--format", "json", "--method", "POST", "--header", "x-colour:green"],
      ...["--ip", "self", "--search", "needle", "--status", "ok"],
    );
    const green = { "x-colour": "dark green" };
    const fitting = (): Promise<number> => get("fra", "/a?word=needle", green, "POST");
    await firstEvent(watching, fitting);
    await get("fra", "/a?word=needle", green, "GET");
    await get("fra", "/b?word=needle", { "x-colour": "red" }, "POST");
    await get("fra", "/c?word=hay", green, "POST");
    await get("fra", "/throw", green, "POST");
    await fitting();
    const seen = watching.events.length;
    await eventually(() => watching.events.length > seen, { what: "the last one is told" });
    for (const { outcome, event, logs } of watching.events) {
      expect([outcome, event?.request?.method, event?.response?.status]).toEqual([
        "ok",
        "POST",
        200,
      ]);
      expect(event?.request?.url).toMatch(/\/a\?word=needle$/);
      expect(logs[0]?.message).toEqual(["saw /a", { word: "needle" }]);
    }
  });

  test("one version is watched, and another one is not", async () => {
    const { body } = await atoll.api(accountPath(atoll, "/workers/scripts/watched/deployments"));
    const [id] = /[0-9a-f]{8}-[0-9a-f-]{27}(?=[^}]*"percentage")/.exec(body) ?? [];
    const other = tail("4.164", "--format", "pretty", "--version-id", crypto.randomUUID());
    const watching = tail("4.164", "--format", "pretty");
    await Promise.all([other.connected(), watching.connected()]);
    await get("nrt", "/seen");
    await watching.shows("saw /seen");
    expect(id).toBeDefined();
    expect(other.output).not.toContain("saw /seen");
  });

  test("a request that is ended for its CPU time is told as such", async () => {
    const watching = tail("4.164", "--format", "pretty");
    await watching.connected();
    expect(await get("iad", "/loop")).toBe(503);
    await watching.shows("/loop - Exceeded CPU Limit @");
  });

  test("under a flood it is sampled, with a notice, and the requests are served", async () => {
    const watching = tail("4.164", "--format", "json");
    await firstEvent(watching, () => get("fra", "/first"));
    const load = new Load({
      url: `${atoll.regions.fra.url}/flood`,
      host: "watched.localhost",
      atATime: 8,
    });
    await eventually(() => watching.events.some(({ event }) => event?.type === "overload"), {
      what: "the notice is there",
    });
    const report = await load.stop();
    expect(report.failures).toEqual([]);
    await eventually(() => watching.events.some(({ event }) => event?.type === "overload-stop"), {
      what: "its end is told",
    });
    const stop = watching.events.find(({ event }) => event?.type === "overload-stop");
    const dropped = Number(/(\d+) events were left out/.exec(stop?.event?.message ?? "")?.[1]);
    const told = watching.events.filter(({ event }) => event?.request?.url.endsWith("/flood"));
    // What an ingress counts as begun includes what was told at the edges of each rest.
    expect(dropped + told.length).toBeGreaterThan(0.8 * report.requests);
    expect(dropped + told.length).toBeLessThan(1.2 * report.requests);
  });

  test("a node that is killed is watched again when it is back", async () => {
    const watching = tail("4.164", "--format", "pretty");
    await watching.connected();
    const pid = (await atoll.pids())["fra"] ?? 0;
    process.kill(pid, "SIGKILL");
    await get("iad", "/meanwhile");
    await watching.shows("saw /meanwhile");
    await eventually(
      async () => {
        await get("fra", "/back");
        return watching.output.includes("saw /back");
      },
      { what: "the node tells again", deadlineMs: 40_000 },
    );
  });

  test("after a restart of the control plane, the newest wrangler watches again", async () => {
    const watching = tail("4.164", "--format", "pretty");
    await watching.connected();
    process.kill((await atoll.pids())["control-plane"] ?? 0, "SIGKILL");
    await eventually(
      async () => {
        await get("nrt", "/again");
        return watching.output.includes("saw /again");
      },
      { what: "it is told again", deadlineMs: 40_000 },
    );
  });
});
