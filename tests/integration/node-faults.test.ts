import { afterAll, beforeAll, expect, test } from "vitest";
import { REGIONS, startAtoll, type RegionName, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { Load } from "../support/load.ts";
import { removeWorker, upload } from "../support/upload.ts";

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

interface CellRow {
  readonly workers: ReadonlyArray<string>;
  readonly pid: number;
}

/** Cells of a worker in a region, as `atoll status --json` tells. */
async function cellsOf(region: RegionName, worker: string): Promise<ReadonlyArray<CellRow>> {
  const { output } = await atoll.atoll(["status", "--json"]);
  const status = JSON.parse(output) as {
    nodes: ReadonlyArray<{ name: string; connected: boolean; cells: ReadonlyArray<CellRow> }>;
  };
  const node = status.nodes.find(({ name }) => name === region);
  return node?.cells.filter(({ workers }) => workers.some((name) => name.endsWith(worker))) ?? [];
}

async function deployVersion(name: string, text: string): Promise<void> {
  const source = `export default { fetch: () => new Response(${JSON.stringify(text)}) };`;
  const answer = await upload(atoll, { name, source });
  expect(answer.status, answer.body).toBe(200);
}

async function answersEverywhere(name: string, text: string): Promise<void> {
  for (const region of REGIONS) {
    await eventually(
      async () => (await atoll.get(region, `${name}.localhost`, "/")).body === text,
      { what: `${name} answers ${text} in ${region}` },
    );
  }
}

test("redeploys under load: no request fails and none is cold", async () => {
  await deployVersion("busy", "0");
  await answersEverywhere("busy", "0");
  const loads = REGIONS.map(
    (region) =>
      new Load({ url: `${atoll.regions[region].url}/`, host: "busy.localhost", atATime: 4 }),
  );
  for (let number = 1; number <= 5; number += 1) {
    await deployVersion("busy", String(number));
    await answersEverywhere("busy", String(number));
  }
  for (const load of loads) {
    const report = await load.stop();
    expect(report.failures).toEqual([]);
    expect(report.cold).toBe(0);
    expect(report.bodies).toEqual(new Set(["0", "1", "2", "3", "4", "5"]));
  }
});

test("a killed cell: its own requests fail with a page, its worker is back, others never notice", async () => {
  const source = `export default { async fetch(request) {
    if (new URL(request.url).pathname === "/slow") await scheduler.wait(20_000);
    return new Response("here");
  } };`;
  await upload(atoll, { name: "victim", source });
  await deployVersion("neighbour", "fine");
  await answersEverywhere("victim", "here");
  await answersEverywhere("neighbour", "fine");
  const load = new Load({
    url: `${atoll.regions.fra.url}/`,
    host: "neighbour.localhost",
    atATime: 2,
  });
  // Not safe to repeat: a safe one would go to the next cell.
  const slow = atoll.get("fra", "victim.localhost", "/slow", {
    method: "POST",
    headers: { accept: "text/html" },
  });
  const [cell] = await eventually(
    async () => {
      const cells = await cellsOf("fra", "victim");
      return cells.length > 0 && cells;
    },
    { what: "status shows the victim's cell" },
  );
  const requestsBefore = load.requests;
  process.kill(cell?.pid ?? 0, "SIGKILL");

  const failed = await slow;
  expect(failed.status).toBe(502);
  expect(failed.headers["cf-ray"]).toMatch(/-fra$/);
  expect(failed.body).toContain("<html");
  await eventually(async () => (await atoll.get("fra", "victim.localhost", "/")).status === 200, {
    what: "the victim answers again",
  });
  await eventually(() => load.requests > requestsBefore + 50, { what: "the neighbour went on" });
  expect((await load.stop()).failures).toEqual([]);
});

test("a node without its control plane serves what it has, also after its own restart", async () => {
  const account = atoll.variables["CLOUDFLARE_ACCOUNT_ID"];
  const created = await atoll.api(`/accounts/${account}/storage/kv/namespaces`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ title: "offline" }),
  });
  const { id } = (JSON.parse(created.body) as { result: { id: string } }).result;
  await atoll.api(`/accounts/${account}/storage/kv/namespaces/${id}/values/key`, {
    method: "PUT",
    body: "value",
  });
  const source = `export default { async fetch(request, env) {
    if (request.method === "PUT") {
      try { await env.KV.put("key", "changed"); return new Response("written"); }
      catch (error) { return new Response(String(error), { status: 503 }); }
    }
    return new Response(env.SECRET + " " + (await env.KV.get("key")));
  } };`;
  const bindings = [
    { type: "kv_namespace", name: "KV", namespace_id: id },
    { type: "secret_text", name: "SECRET", text: "sealed" },
  ];
  await upload(atoll, { name: "offline", source, metadata: { bindings } });
  await answersEverywhere("offline", "sealed value");

  const pids = await atoll.pids();
  const stopped = pids["control-plane"] ?? 0;
  // Stopped, not killed: `atoll up` would start a killed one again at once.
  process.kill(stopped, "SIGSTOP");
  try {
    process.kill(pids["nrt"] ?? 0, "SIGKILL");
    await answersEverywhere("offline", "sealed value");
    await eventually(async () => (await atoll.pids())["nrt"] !== pids["nrt"], {
      what: "nrt was started again",
    });
    await eventually(
      async () => {
        const write = await atoll.get("nrt", "offline.localhost", "/", { method: "PUT" });
        return write.status === 503 && write;
      },
      { what: "writes fail while reads go on" },
    );
  } finally {
    process.kill(stopped, "SIGCONT");
  }
  await eventually(
    async () =>
      (await atoll.get("nrt", "offline.localhost", "/", { method: "PUT" })).status === 200,
    { what: "writes succeed again" },
  );
  await answersEverywhere("offline", "sealed changed");
});

test("a killed control plane comes back, and deploys go on", async () => {
  process.kill((await atoll.pids())["control-plane"] ?? 0, "SIGKILL");
  await eventually(async () => (await atoll.api("/accounts")).status === 200, {
    what: "the control plane answers again",
  });
  await deployVersion("after-crash", "served");
  await answersEverywhere("after-crash", "served");
  await removeWorker(atoll, "after-crash");
});

test("a restart of everything finds everything as it was", async () => {
  await deployVersion("kept", "still here");
  await answersEverywhere("kept", "still here");
  await atoll.restart();
  await answersEverywhere("kept", "still here");
});
