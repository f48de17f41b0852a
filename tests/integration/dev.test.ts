import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { MAIN, REGIONS, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { type DevProcess, startDevProcess } from "../support/dev-process.ts";
import { eventually } from "../support/eventually.ts";
import { EXAMPLE_SCRIPTS } from "../support/example-scripts.ts";
import { findFreePorts } from "../support/free-ports.ts";
import { copyExample, type TestProject } from "../support/project.ts";
import { startWranglerDev } from "../support/wrangler-dev.ts";

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

const cleanups: Array<() => Promise<unknown>> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function copy(example: string): Promise<TestProject> {
  const project = await copyExample(example);
  cleanups.push(() => project.remove());
  return project;
}

/** Runs `atoll dev` in a project, with the API of the Atoll under test in the environment. */
async function startAtollDev(
  directory: string,
  ...options: ReadonlyArray<string>
): Promise<{ readonly url: string; readonly dev: DevProcess }> {
  const port = await findFreePorts(1);
  const dev = await startDevProcess({
    script: MAIN,
    arguments: ["dev", "--port", String(port), ...options],
    directory,
    environment: { ...atoll.variables },
  });
  cleanups.push(() => dev.stop());
  return { dev, url: `http://127.0.0.1:${port}` };
}

async function sign(url: string, name: string): Promise<void> {
  const response = await fetch(`${url}/api/entries`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name, message: "hello" }),
  });
  expect(response.status).toBe(201);
}

function signersIn(body: string): ReadonlyArray<string> {
  const { entries } = JSON.parse(body) as { readonly entries: ReadonlyArray<{ name: string }> };
  return entries.map(({ name }) => name);
}

test("atoll dev: serves a project, prints a line for each request, reloads on save, leaves nothing", async () => {
  const project = await copy("guestbook");
  const { url, dev } = await startAtollDev(project.directory);
  await sign(url, "Ada");
  expect(signersIn(await (await fetch(`${url}/api/entries`)).text())).toEqual(["Ada"]);
  expect((await fetch(`${url}/gone`)).status).toBe(404);
  await eventually(() => /GET \/gone 404 Not Found \(\d+ms\)/.test(dev.output()), {
    what: "the line of a request",
  });
  await project.edit("src/index.ts", { from: "nothing at", to: "no page at" });
  await eventually(async () => (await (await fetch(`${url}/gone`)).text()).includes("no page at"), {
    what: "the saved code answers",
  });
  await project.edit("public/index.html", { from: "<h1>Guestbook</h1>", to: "<h1>Saved</h1>" });
  await eventually(async () => (await (await fetch(url)).text()).includes("<h1>Saved</h1>"), {
    what: "the saved page is served",
  });
  await dev.stop();
});

test("atoll dev --remote-kv: reads and writes the deployed worker's namespace", async () => {
  const project = await copy("guestbook");
  const { exitCode, output } = await atoll.wrangler(project.directory, ["deploy"]);
  if (exitCode !== 0) throw new Error(output);
  const host = "guestbook.localhost";
  const entries = async (region: (typeof REGIONS)[number]) =>
    signersIn((await atoll.get(region, host, "/api/entries")).body);
  await eventually(async () => (await entries("iad")).length === 0, { what: "it is deployed" });
  await atoll.get("iad", host, "/api/entries", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: "From the fleet", message: "hello" }),
  });

  const { url } = await startAtollDev(project.directory, "--remote-kv");
  const before = await (await fetch(`${url}/api/entries`)).text();
  expect(signersIn(before)).toEqual(["From the fleet"]);
  await sign(url, "From Zoë's desk");
  for (const region of REGIONS) {
    await eventually(async () => (await entries(region))[0] === "From Zoë's desk", {
      what: `what atoll dev wrote is read in ${region}`,
    });
  }
});

test("atoll dev --remote-kv: expiry, metadata, listings and refusals are those of the API", async () => {
  const project = await copy("short-links");
  const { exitCode, output } = await atoll.wrangler(project.directory, ["deploy"]);
  if (exitCode !== 0) throw new Error(output);
  const { url } = await startAtollDev(project.directory, "--remote-kv");
  const put = (slug: string, link: object) =>
    fetch(`${url}/${slug}`, { method: "PUT", body: JSON.stringify(link) });
  await put("docs", { url: "https://example.com/docs" });
  await put("soon", { url: "https://example.com/soon", expiresInSeconds: 3_600 });
  const links = await (await fetch(`${url}/links.json`)).json();
  expect(links).toMatchObject({
    links: [
      { slug: "docs", createdAt: expect.stringMatching(/^\d{4}-/) },
      { slug: "soon", createdAt: expect.stringMatching(/^\d{4}-/) },
    ],
    complete: true,
  });
  const followed = await fetch(`${url}/docs`, { redirect: "manual" });
  expect(followed.headers.get("location")).toBe("https://example.com/docs");
  await fetch(`${url}/docs`, { method: "DELETE" });
  expect((await fetch(`${url}/docs`, { redirect: "manual" })).status).toBe(404);
});

test.each(Object.keys(EXAMPLE_SCRIPTS))("wrangler dev 4.86: serves %s", async (example) => {
  const project = await copy(example);
  const dev = await startWranglerDev(project.directory, "4.86");
  cleanups.push(() => dev.stop());
  const response = await fetch(dev.url, { redirect: "manual" });
  expect(response.status).toBe(example === "short-links" ? 302 : 200);
});
