import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  REGIONS,
  EVERYDAY_RELEASES,
  startAtoll,
  type TestAtoll,
  type WranglerRelease,
} from "../support/atoll.ts";
import { createProject, type TestProject } from "../support/project.ts";
import { accountPath } from "../support/refusal.ts";
import { serveEverywhere } from "../support/serving.ts";

/** The example of docs/kv.md, as it is there. */
const EXAMPLE = /```js\n(const url = [\s\S]*?)```/;

let atoll: TestAtoll;
let namespace: string;
const projects: TestProject[] = [];

beforeAll(async () => {
  atoll = await startAtoll();
  const path = accountPath(atoll, "/storage/kv/namespaces");
  const body = JSON.stringify({ title: "counters" });
  const headers = { "content-type": "application/json" };
  const created = await atoll.api(path, { method: "POST", headers, body });
  namespace = (JSON.parse(created.body) as { result: { id: string } }).result.id;
});
afterAll(async () => {
  await atoll.stop();
  await Promise.all(projects.map((project) => project.remove()));
});

/** Deploys a worker that has the namespace in both forms. */
async function deploy(name: string, source: string, release: WranglerRelease): Promise<void> {
  const id = namespace;
  const project = await createProject({
    "index.js": source,
    "wrangler.jsonc": JSON.stringify({
      name,
      main: "index.js",
      compatibility_date: "2026-06-01",
      kv_namespaces: [
        { binding: "KV", id },
        { binding: "KV_HTTP", id, raw: true },
      ],
    }),
  });
  projects.push(project);
  const { exitCode, output } = await atoll.wrangler(project.directory, ["deploy"], { release });
  expect(exitCode, output).toBe(0);
  await serveEverywhere(atoll, name, ({ status, body }) => status === 200 && body !== "");
}

test.each(EVERYDAY_RELEASES)(
  "a counter that is counted by all nodes at once loses none, deployed by wrangler %s",
  async (release) => {
    const document = await readFile(join(import.meta.dirname, "../../docs/kv.md"), "utf8");
    const [, example = ""] = EXAMPLE.exec(document) ?? [];
    const name = `counter-${release.replace(".", "")}`;
    const source = `${example}
export default {
  async fetch(request, env) {
    if (new URL(request.url).pathname === "/") return new Response("ready");
    return new Response(String(await increment(env.KV_HTTP, "${name}")));
  },
};`;
    await deploy(name, source, release);
    const counts = await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        const region = REGIONS[index % REGIONS.length] ?? "fra";
        const answer = await atoll.get(region, `${name}.localhost`, "/count");
        expect(answer.status, answer.body).toBe(200);
        return Number(answer.body);
      }),
    );
    expect(counts.toSorted((a, b) => a - b)).toEqual(counts.map((_, index) => index + 1));
  },
);

test("what a worker says of itself over HTTP opens no other namespace, and the binding is as ever", async () => {
  const source = `
export default {
  async fetch(request, env) {
    await env.KV.put("k", "v");
    const headers = { "x-atoll-kv": "made-up" };
    const read = await env.KV_HTTP.fetch("http://any/k?urlencoded=true", { headers });
    const stale = await env.KV_HTTP.fetch("http://any/k?urlencoded=true&min_revision=999999");
    return Response.json({
      native: await env.KV.get("k"),
      read: [read.status, await read.text(), read.headers.get("x-atoll-kv-lag-ms")],
      stale: [stale.status, stale.headers.get("x-atoll-kv-error")],
    });
  },
};`;
  await deploy("honest", source, "4.164");
  const { body } = await atoll.get("fra", "honest.localhost", "/");
  expect(JSON.parse(body)).toEqual({
    native: "v",
    read: [200, "v", expect.stringMatching(/^\d+$/)],
    stale: [503, "replica_behind"],
  });
});
