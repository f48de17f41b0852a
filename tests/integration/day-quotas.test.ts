import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Answer,
  EVERYDAY_INGRESSES,
  IS_THOROUGH,
  REGIONS,
  type RegionName,
  startAtoll,
  type TestAtoll,
} from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject } from "../support/project.ts";
import { accountPath, readStatus } from "../support/refusal.ts";
import { asNewAccount } from "../support/second-account.ts";
import { upload } from "../support/upload.ts";

const SOURCE = `export default { async fetch() { return new Response("served"); } };`;
/** Tells what came of a read or a listing, and serves all other paths. */
const KV_SOURCE = `export default {
  async fetch(request, { KV }) {
    const { pathname } = new URL(request.url);
    try {
      if (pathname === "/read") await KV.get("key");
      if (pathname === "/list") await KV.list();
      return new Response("served");
    } catch (error) {
      return new Response(error.message);
    }
  },
};`;
const QUOTA = 12;

function refusalOf(call: string, bound: string): string {
  return `KV GET failed: 429 Too Many Requests: KV ${call} limit exceeded for the day. The account may make ${bound} until midnight UTC.`;
}

function accountOf({ variables }: TestAtoll): string {
  return variables["CLOUDFLARE_ACCOUNT_ID"] ?? "";
}

interface Day {
  readonly requests: number;
  readonly requestsMax: number | null;
  readonly isUsedUp: boolean;
}

describe.each(EVERYDAY_INGRESSES)("quotas by day behind %s", (ingress) => {
  let atoll: TestAtoll;
  let theirs: TestAtoll;
  let namespace: string;
  beforeAll(async () => {
    atoll = await startAtoll({ environment: { ATOLL_INGRESS: ingress } });
    theirs = await asNewAccount(atoll);
    const created = await atoll.api(accountPath(atoll, "/storage/kv/namespaces"), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ title: "read by day" }),
    });
    namespace = (JSON.parse(created.body) as { result: { id: string } }).result.id;
    const bindings = [{ type: "kv_namespace", name: "KV", namespace_id: namespace }];
    const workers = [
      [atoll, { name: "ours", source: KV_SOURCE, metadata: { bindings } }],
      [theirs, { name: "theirs", source: SOURCE }],
    ] as const;
    for (const [owner, worker] of workers) {
      const answer = await upload(owner, worker);
      expect(answer.status, answer.body).toBe(200);
    }
    const project = await createProject({
      "wrangler.json": JSON.stringify({
        ...{ name: "site", compatibility_date: "2026-06-01", assets: { directory: "public" } },
      }),
      "public/index.html": "static",
    });
    const deployed = await atoll.wrangler(project.directory, ["deploy"], {
      environment: theirs.variables,
    });
    expect(deployed.exitCode, deployed.output).toBe(0);
    await project.remove();
  });
  afterAll(() => atoll.stop());

  function ask(region: RegionName, name = "theirs"): Promise<Answer> {
    return atoll.get(region, `${name}.localhost`, "/", { headers: { accept: "text/html" } });
  }

  async function serve(region: RegionName, count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) expect((await ask(region)).status).toBe(200);
  }

  async function today(): Promise<Day> {
    const { body } = await theirs.api(accountPath(theirs, "/usage"));
    return (JSON.parse(body) as { result: { today: Day } }).result.today;
  }

  async function told(requests: number): Promise<void> {
    await eventually(async () => (await today()).requests === requests, {
      what: `${requests} requests are told`,
    });
  }

  async function grant(requestsPerDay: string): Promise<void> {
    const set = ["account", "set", accountOf(theirs), "--requests-per-day", requestsPerDay];
    expect((await atoll.atoll(set)).exitCode).toBe(0);
  }

  /** Kills processes of Atoll's, and waits until they are back. */
  async function kill(...names: ReadonlyArray<"fra" | "control-plane">): Promise<void> {
    const before = await atoll.pids();
    for (const name of names) process.kill(before[name] ?? 0, "SIGKILL");
    await eventually(
      async () => {
        const now = await atoll.pids();
        return names.every((name) => now[name] !== before[name]);
      },
      { what: `${names.join(" and ")} are back` },
    );
  }

  async function followed(): Promise<void> {
    await eventually(
      async () => {
        const { revision, nodes } = await readStatus(atoll);
        return nodes.every((node) => node.connected && node.revision === revision);
      },
      // A node that found nobody a few times waits for seconds before it looks again.
      { what: "all nodes follow" },
    );
  }

  /** Waits until a region refuses; returns how many requests it served until then. */
  async function refused(region: RegionName): Promise<number> {
    let served = 0;
    await eventually(
      async () => {
        const { status } = await ask(region);
        if (status === 200) served += 1;
        return status === 429;
      },
      { what: `${region} refuses` },
    );
    return served;
  }

  async function servedAgain(): Promise<void> {
    for (const region of REGIONS) {
      await eventually(async () => (await ask(region)).status === 200, {
        what: `${region} serves again`,
      });
    }
  }

  test("hold over all nodes, through restarts of either side, and disturb nobody else", async () => {
    await grant(String(QUOTA));
    for (const region of REGIONS) await serve(region, 3);
    await told(9);
    await kill("fra", "control-plane");
    await followed();
    await serve("fra", 2);
    // One below the quota; and the last one that is within it.
    await told(QUOTA - 1);
    expect(await today()).toMatchObject({ isUsedUp: false, requestsMax: QUOTA });
    await serve("nrt", 1);
    // The node that had it knows at once, or when HAProxy has told it; the others when they were told.
    const besides = await refused("nrt");
    await told(QUOTA + besides);
    const overshoot = besides + (await refused("iad")) + (await refused("fra"));
    // Nobody asked for more than a few within the tenth of a second, and the second, that this takes.
    expect(overshoot).toBeLessThan(60);
    await told(QUOTA + overshoot);
    expect(await today()).toMatchObject({ isUsedUp: true });
    for (const region of REGIONS) {
      const page = await ask(region);
      expect([page.status, page.headers["x-atoll-error"]]).toEqual([429, "day_quota_exceeded"]);
      expect(page.body).toContain("Daily limit exceeded <small>Error 1027</small>");
      expect((await ask(region, "ours")).body).toBe("served");
      // Static files are free.
      expect((await ask(region, "site")).status).toBe(200);
    }
    const shown = await atoll.atoll(["account", "usage", accountOf(theirs), "--json"]);
    expect(JSON.parse(shown.output)).toMatchObject([
      {
        account: accountOf(theirs),
        requests: QUOTA + overshoot,
        requestsMax: QUOTA,
        isUsedUp: true,
      },
    ]);
    const log = await readFile(join(atoll.dataDirectory, "logs", "fra.log"), "utf8");
    expect(log).toContain("an account used up its day");

    // A node that restarts with nobody to ask knows what it was told.
    const controlPlane = (await atoll.pids())["control-plane"] ?? 0;
    process.kill(controlPlane, "SIGSTOP");
    try {
      await kill("fra");
      await eventually(async () => (await ask("fra", "ours")).status === 200, {
        what: "fra serves",
      });
      expect((await ask("fra")).status).toBe(429);
    } finally {
      process.kill(controlPlane, "SIGCONT");
    }
    if (!IS_THOROUGH) return;
    await followed();
    // What was refused counts nowhere.
    await grant(String(QUOTA + overshoot + 100));
    await servedAgain();
    await told(QUOTA + overshoot + REGIONS.length);
    await grant("1");
    for (const region of REGIONS) await refused(region);
  });

  test("of KV refuse reads and lists, each by itself, and nothing else", async () => {
    const call = async (region: RegionName, path: "/read" | "/list"): Promise<string> =>
      (await atoll.get(region, "ours.localhost", path)).body;
    const grantReads = async (count: string): Promise<void> => {
      const set = ["account", "set", accountOf(atoll), "--kv-reads-per-day", count];
      expect((await atoll.atoll([...set, "--kv-lists-per-day", "0"])).exitCode).toBe(0);
    };
    /** Reads until it is refused, or served; returns how often that was not so. */
    const readUntil = async (region: RegionName, outcome: string): Promise<number> => {
      let before = 0;
      await eventually(
        async () => (await call(region, "/read")) === outcome || void (before += 1),
        { what: `a read in ${region} is ${outcome}` },
      );
      return before;
    };
    await grantReads("0");
    // Until the node has heard of the bound it serves, and counts.
    const count = (await readUntil("fra", refusalOf("get()", "0 reads"))) + 4;
    await grantReads(String(count));
    await readUntil("fra", "served");
    // It knows of its own reads at once; of the others' when they have told.
    const refusal = refusalOf("get()", `${count} reads`);
    expect(await readUntil("fra", refusal)).toBeLessThan(5);
    await readUntil("iad", refusal);
    for (const region of ["fra", "iad"] as const) {
      expect(await call(region, "/list")).toBe(refusalOf("list()", "0 lists"));
      expect((await ask(region, "ours")).body).toBe("served");
    }
    // Calls of the API are of the same day: what they read workers have no more.
    const spent = (keysAtOnce: number): Promise<boolean> => {
      const path = accountPath(atoll, `/storage/kv/namespaces/${namespace}/bulk/get`);
      const body = JSON.stringify({
        keys: Array.from({ length: keysAtOnce }, (_, key) => `${key}`),
      });
      return eventually(
        async () => (await atoll.api(path, { method: "POST", body })).body.includes('"code":10048'),
        { what: "no call is left" },
      );
    };
    const more = 1_000;
    await grantReads(String(count + more));
    await readUntil("iad", "served");
    await spent(100);
    await spent(10);
    const rest = await readUntil("iad", refusalOf("get()", `${count + more} reads`));
    expect(rest).toBeLessThan(more / 2);
    await grantReads("none");
    await readUntil("iad", "served");
  });
});
