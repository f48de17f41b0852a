import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { request } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";
import { REGIONS, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { findFreePorts } from "../support/free-ports.ts";
import { OFFENDER_SOURCE } from "../support/offender.ts";
import { parsePrometheusText, type Metrics } from "../support/prometheus-text.ts";
import { readStatus } from "../support/refusal.ts";
import { serveEverywhere } from "../support/serving.ts";
import { upload } from "../support/upload.ts";

const REGION = "fra";
/** Asks for the URL that its own URL names. */
const SPY_SOURCE = `export default { async fetch(request) {
  const url = new URL(request.url).searchParams.get("url");
  if (url === null) return new Response("fine");
  const { status } = await fetch(url);
  return new Response(String(status));
} };`;

let atoll: TestAtoll;
let metricsPort: number;
beforeAll(async () => {
  const first = await findFreePorts(REGIONS.length);
  metricsPort = first + REGIONS.indexOf(REGION);
  atoll = await startAtoll({ environment: { ATOLL_METRICS_PORT: String(first) } });
  for (const [name, source] of [
    ["offender", OFFENDER_SOURCE],
    ["spy", SPY_SOURCE],
  ] as const) {
    const answer = await upload(atoll, { name, source });
    expect(answer.status, answer.body).toBe(200);
    await serveEverywhere(atoll, name, ({ body }) => body === "fine");
  }
}, 120_000);
afterAll(() => atoll.stop());

async function scrape(): Promise<Metrics> {
  const { statusCode, headers, body } = await request(`http://127.0.0.1:${metricsPort}/metrics`);
  expect(statusCode).toBe(200);
  expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
  return parsePrometheusText(await body.text());
}

async function valueOf(name: string, labels = ""): Promise<number | undefined> {
  return (await scrape()).get(name)?.get(labels);
}

async function ask(worker: string, path: string): Promise<string> {
  const { status, headers, body } = await atoll.get(REGION, `${worker}.localhost`, path);
  return status === 200 ? body : String(headers["x-atoll-error"]);
}

test("metrics: ends for a limit are in metrics, status and log, as often as they happened", async () => {
  expect(await ask("offender", "/loop")).toBe("cpu_exceeded");
  expect(await ask("offender", "/")).toBe("fine");
  expect(await ask("offender", "/grow")).toBe("memory_exceeded");
  await eventually(async () => (await ask("offender", "/")) === "fine", { what: "it is back" });
  const reasons = { exceeded_cpu: "exceededCpu", exceeded_memory: "exceededMemory" };
  const log = await readFile(join(atoll.dataDirectory, "logs", `${REGION}.log`), "utf8");
  for (const [label, reason] of Object.entries(reasons)) {
    expect(await valueOf("atoll_cell_ends_total", `reason="${label}"`)).toBe(1);
    expect(log.split(`"reason":"${reason}"`)).toHaveLength(2);
  }
  await eventually(
    async () => {
      const node = (await readStatus(atoll)).nodes.find(({ name }) => name === REGION);
      return node?.cellFaults.length === 2 && node;
    },
    { what: "the status tells of both" },
  );
  const { output } = await atoll.atoll(["status"]);
  for (const reason of Object.values(reasons)) {
    expect(output).toMatch(new RegExp(`${REGION}: offender ended at \\S+: ${reason}\n`));
    expect(output).toMatch(new RegExp(`${REGION}: cells ended since its start: .*1 ${reason}`));
  }
});

test("metrics: tell what a node does", async () => {
  const before = await scrape();
  const count = (metrics: Metrics, name: string, labels = ""): number =>
    metrics.get(name)?.get(labels) ?? 0;
  for (let index = 0; index < 5; index += 1) expect(await ask("spy", "/")).toBe("fine");
  // An ingress that is another process tells of its requests a moment later.
  await eventually(
    async () => {
      const served = count(await scrape(), "atoll_requests_total", 'status="2xx"');
      return served === count(before, "atoll_requests_total", 'status="2xx"') + 5;
    },
    { what: "five more requests" },
  );
  expect(count(before, "atoll_requests_total", 'status="5xx"')).toBeGreaterThanOrEqual(2);
  expect(count(before, "atoll_cells", 'state="warm"')).toBeGreaterThanOrEqual(2);
  const started = count(before, "atoll_cell_starts_total", 'result="started"');
  expect(started).toBeGreaterThanOrEqual(4);
  expect(count(before, "atoll_cell_start_seconds_count")).toBe(started);
  expect(count(before, "atoll_cell_start_seconds_bucket", 'le="+Inf"')).toBe(started);
  expect(count(before, "atoll_link_connected")).toBe(1);
  expect(count(before, "atoll_ingress_restarts_total")).toBe(0);
  const { revision } = await readStatus(atoll);
  expect(count(before, "atoll_state_revision")).toBe(revision);
});

test("metrics: have no label that a tenant chose", async () => {
  for (const samples of (await scrape()).values()) {
    for (const labels of samples.keys()) expect(labels).not.toMatch(/offender|spy/);
  }
});

test("metrics: no worker reads them, and no ingress leads to them", async () => {
  for (const host of ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"]) {
    const url = encodeURIComponent(`http://${host}:${metricsPort}/metrics`);
    expect(await ask("spy", `/?url=${url}`)).toBe("403");
  }
  for (const host of ["127.0.0.1", "localhost", `127.0.0.1:${metricsPort}`]) {
    const answer = await request(`${atoll.regions[REGION].url}/metrics`, { headers: { host } });
    expect(answer.statusCode).toBe(404);
    expect(await answer.body.text()).not.toContain("atoll_cells");
  }
});
