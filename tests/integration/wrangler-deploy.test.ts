import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startAtoll, REGIONS, ALL_RELEASES, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { copyFixture, type TestProject } from "../support/project.ts";

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

/** Waits until every region answers for a host as `isReady` wants. */
async function everywhere(
  host: string,
  path: string,
  isReady: (answer: { status: number; body: string }) => boolean,
): Promise<void> {
  for (const region of REGIONS) {
    await eventually(async () => isReady(await atoll.get(region, host, path)), {
      what: `${host}${path} as expected in ${region}`,
    });
  }
}

describe.each(ALL_RELEASES)("wrangler %s", (release) => {
  const projects: TestProject[] = [];
  const fixture = async (name: string): Promise<TestProject> => {
    const project = await copyFixture(name);
    projects.push(project);
    return project;
  };
  const wrangler = (project: TestProject, ...commandArguments: string[]) =>
    atoll.wrangler(project.directory, commandArguments, { release });
  afterAll(() => Promise.all(projects.map((project) => project.remove())));

  test("deploys modules of every kind, redeploys, keeps secrets, rolls back, deletes", async () => {
    const project = await fixture("modules");
    const name = `modules-${release.replace(".", "")}`;
    await project.edit("wrangler.jsonc", { from: '"modules"', to: `"${name}"` });
    const host = `${name}.localhost`;

    const first = await wrangler(project, "deploy");
    expect(first.output).toContain("Current Version ID");
    expect(first.exitCode).toBe(0);
    await everywhere(host, "/x", ({ status }) => status === 200);
    for (const region of REGIONS) {
      const answer = await atoll.get(region, host, "/some/path");
      expect(JSON.parse(answer.body)).toEqual({
        path: "/some/path",
        greeting: 'hello "quoted" \\ ünïcödé\nline',
        settings: { deep: [1, true, null] },
        text: 'a note, with "quotes"\n',
        bytes: [0, 1, 254, 255],
        table: { one: 1, list: ["a", "b"] },
        sum: 42,
        base64: "YXRvbGw=",
        sha1: createHash("sha1").update("atoll").digest("hex"),
        secret: null,
        version: "string",
        colo: region.toUpperCase(),
      });
    }

    const secret = await atoll.wrangler(project.directory, ["secret", "put", "API_KEY"], {
      release,
      input: "hush",
    });
    expect(secret.exitCode, secret.output).toBe(0);
    await everywhere(host, "/", ({ body }) => body.includes('"secret":"hush"'));
    const listed = await wrangler(project, "secret", "list");
    expect(listed.output).toContain("API_KEY");
    expect(listed.output).not.toContain("hush");

    await project.edit("src/index.js", { from: "path: new", to: "redeployed: true, path: new" });
    expect((await wrangler(project, "deploy")).exitCode).toBe(0);
    await everywhere(host, "/", ({ body }) => body.includes("redeployed"));
    expect((await atoll.get("fra", host, "/")).body).toContain('"secret":"hush"');

    const versions = await wrangler(project, "versions", "list");
    expect(versions.output.match(/Version ID:/g)?.length).toBeGreaterThanOrEqual(3);
    const deployments = await wrangler(project, "deployments", "list");
    expect(deployments.exitCode, deployments.output).toBe(0);

    const rollback = await wrangler(project, "rollback", "--message", "back", "--yes");
    expect(rollback.exitCode, rollback.output).toBe(0);
    await everywhere(host, "/", ({ body }) => !body.includes("redeployed"));

    // As on Cloudflare, secrets change on top of the newest version, so that one has to serve.
    const refused = await wrangler(project, "secret", "delete", "API_KEY");
    expect(refused.output).toContain("10215");
    expect((await wrangler(project, "deploy")).exitCode).toBe(0);
    const removed = await wrangler(project, "secret", "delete", "API_KEY");
    expect(removed.exitCode, removed.output).toBe(0);
    await everywhere(host, "/", ({ body }) => body.includes('"secret":null'));

    const deleted = await wrangler(project, "delete", "--force");
    expect(deleted.exitCode, deleted.output).toBe(0);
    await everywhere(host, "/", ({ status }) => status === 404);
  });

  test("deploys the service-worker format with its globals", async () => {
    const project = await fixture("service-worker");
    const name = `sw-${release.replace(".", "")}`;
    await project.edit("wrangler.jsonc", { from: '"service-worker"', to: `"${name}"` });
    const deployed = await wrangler(project, "deploy");
    expect(deployed.exitCode, deployed.output).toBe(0);
    await everywhere(`${name}.localhost`, "/", ({ status }) => status === 200);
    const answer = await atoll.get("nrt", `${name}.localhost`, "/");
    expect(JSON.parse(answer.body)).toEqual({
      greeting: "hello",
      sum: 3,
      note: 'a note, with "quotes"\n',
      bytes: [0, 1, 254, 255],
    });
  });

  test("shows who it is to whoami", async () => {
    const project = await fixture("echo");
    const { output, exitCode } = await wrangler(project, "whoami");
    expect(exitCode, output).toBe(0);
    expect(output).toContain(atoll.variables["CLOUDFLARE_ACCOUNT_ID"]);
  });

  test("shows why a worker does not start, with code and frame, and changes nothing", async () => {
    const project = await fixture("echo");
    const name = `broken-${release.replace(".", "")}`;
    await project.edit("wrangler.jsonc", { from: '"echo"', to: `"${name}"` });
    const cases = [
      { source: 'throw new Error("boom at the top"); export default {}', says: "boom at the top" },
      { source: "export const nothing = 1; // no handlers", says: "" },
    ];
    for (const { source, says } of cases) {
      await project.write("src/index.js", source);
      const { exitCode, output } = await wrangler(project, "deploy");
      expect(exitCode, output).toBe(1);
      expect(output).toContain(says);
    }
    await project.write("src/index.js", 'throw new Error("boom at the top"); export default {}');
    const { output } = await wrangler(project, "deploy");
    expect(output).toContain("10021");
    expect(output).toMatch(/index\.js:1:\d+/);
    expect((await atoll.get("iad", `${name}.localhost`, "/")).status).toBe(404);
  });

  test("serves static files as Cloudflare does, sending only what is missing", async () => {
    const project = await fixture("site");
    const name = `site-${release.replace(".", "")}`;
    await project.edit("wrangler.jsonc", { from: '"site"', to: `"${name}"` });
    const host = `${name}.localhost`;
    const deployed = await wrangler(project, "deploy");
    expect(deployed.exitCode, deployed.output).toBe(0);
    await everywhere(host, "/", ({ status }) => status === 200);

    const about = await atoll.get("fra", host, "/about");
    expect(about).toMatchObject({ status: 200, body: "<h1>About</h1>\n" });
    expect(about.headers).toMatchObject({
      "content-type": "text/html; charset=utf-8",
      "x-fixture": "about",
      "x-all": "yes",
      "cache-control": "max-age=60",
    });
    const etag = String(about.headers["etag"]);
    const cached = await atoll.get("fra", host, "/about", { headers: { "if-none-match": etag } });
    expect(cached).toMatchObject({ status: 304, body: "" });
    expect(await atoll.get("fra", host, "/about.html")).toMatchObject({
      status: 307,
      headers: { location: "/about" },
    });
    expect(await atoll.get("fra", host, "/sub")).toMatchObject({ status: 307 });
    expect(await atoll.get("fra", host, "/old")).toMatchObject({
      status: 301,
      headers: { location: "/about" },
    });
    expect(await atoll.get("fra", host, "/blog/x")).toMatchObject({ status: 302 });
    const style = await atoll.get("fra", host, "/style%20sheet%20%C3%A9.css");
    expect(style).toMatchObject({ status: 200, body: "body { color: teal }\n" });
    expect(style.headers["content-type"]).toContain("text/css");
    expect((await atoll.get("fra", host, "/api/hello")).body).toBe('{"api":"/api/hello"}');
    expect((await atoll.get("fra", host, "/api/asset")).body).toBe("<h1>About</h1>\n");

    // Other content for each release: what one of them uploaded, the other does not need to.
    const changed = `<h1>Changed by ${release}</h1>\n`;
    await project.write("public/about.html", changed);
    const again = await wrangler(project, "deploy");
    expect(again.output).toMatch(/Uploaded 1 (of 1 )?/);
    await everywhere(host, "/about", ({ body }) => body === changed);
  });
});
